"""How models are listed, of which there may be several versions."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from vecserve.v1 import model_service_pb2 as pb
from vecserve_server.api.gate import Gate
from vecserve_server.api.model import ModelServicer
from vecserve_server.engine.catalog import Catalog
from vecserve_server.engine.engine import Engine
from vecserve_server.models.inputs import InputLimits
from vecserve_server.models.model import AnyModel, open_artifact
from vecserve_server.models.session import SessionOptions

CONTEXT = cast(Any, None)
REFERENCES = ["a@1", "b@1", "b@2", "b@10", "b@c@1", "c@1"]


@pytest.fixture
def servicer(text_artifact: Path) -> ModelServicer:
    """A servicer of six models."""
    models: list[AnyModel] = []
    for reference in REFERENCES:
        model = open_artifact(text_artifact, SessionOptions(), InputLimits())
        model.name, _, model.version = reference.rpartition("@")
        models.append(model)
    gate = Gate()
    gate.open(cast(Engine, SimpleNamespace(catalog=Catalog(models))))
    return ModelServicer(gate, max_items=7)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6, 100])
async def test_pages_hold_every_version_once_in_order(servicer: ModelServicer, size: int) -> None:
    seen: list[str] = []
    request = pb.ListModelsRequest(page_size=size)
    while True:
        page = await servicer.ListModels(request, CONTEXT)
        seen += [f"{model.name}@{model.version}" for model in page.models]
        assert len(page.models) <= size
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token

    assert seen == REFERENCES


@pytest.mark.parametrize(("token", "first"), [("", "a@1"), ("b", "b@1"), ("b@3", "b@10"), ("bb", "c@1")])
async def test_a_token_stays_good_when_its_model_has_gone(servicer: ModelServicer, token: str, first: str) -> None:
    page = await servicer.ListModels(pb.ListModelsRequest(page_token=token), CONTEXT)

    assert f"{page.models[0].name}@{page.models[0].version}" == first


async def test_one_version_is_the_default(servicer: ModelServicer) -> None:
    page = await servicer.ListModels(pb.ListModelsRequest(), CONTEXT)

    assert [model.name for model in page.models if model.default] == ["a"]


@pytest.mark.parametrize(("reference", "version"), [("b", "10"), ("b@2", "2"), ("b@c", "1")])
async def test_a_model_is_described_by_name_or_version(servicer: ModelServicer, reference: str, version: str) -> None:
    assert (await servicer.GetModel(pb.GetModelRequest(name=reference), CONTEXT)).version == version
