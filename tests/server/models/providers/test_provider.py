"""What a provider changes of the models that run on it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from numpy.typing import NDArray

from vecserve_server.config import ServerConfig
from vecserve_server.loading import load_engine
from vecserve_server.models.inputs import InputLimits, TextInputs
from vecserve_server.models.manifest import Manifest
from vecserve_server.models.model import TextModel, open_artifact
from vecserve_server.models.providers.provider import Cpu, Provider
from vecserve_server.models.session import SessionOptions


@dataclass(frozen=True, kw_only=True)
class Narrow(Cpu):
    """Runs on the CPU at most as many items at once as it was fitted to, and says that it rounds."""

    items: int | None = None

    def fitted(self, manifest: Manifest) -> Self:
        return replace(self, items=max(1, manifest.dimensionality // 4))

    @property
    def most_items(self) -> int | None:
        return self.items

    def computed_in(self, precision: str) -> str:
        return f"rounded {precision}"


class NarrowConfig(ServerConfig):
    def session_options(self, cores: int) -> SessionOptions:
        return SessionOptions(Narrow())


@pytest.fixture
def narrow_model(text_artifact: Path) -> TextModel:
    model = open_artifact(text_artifact, SessionOptions(Narrow()), InputLimits())
    assert isinstance(model, TextModel)
    return model


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_batches_of_more_than_a_run_takes_are_computed_in_parts(
    narrow_model: TextModel, text_model: TextModel, count: int
) -> None:
    texts = ["the cat", "the", "dog the cat", "cat", "the dog"][:count]
    payloads = [item.payload for item in text_model.prepare(TextInputs(texts))]

    np.testing.assert_allclose(narrow_model.run(payloads), text_model.run(payloads), atol=1e-6)


def test_no_run_has_more_items_than_it_takes(narrow_model: TextModel, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    collate = narrow_model.collate

    def counting(payloads: Sequence[NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        counts.append(len(payloads))
        return collate(payloads)

    monkeypatch.setattr(narrow_model, "collate", counting)

    narrow_model.run([narrow_model.sample(3).payload] * 5)

    assert counts == [2, 2, 1]


def test_models_say_what_they_are_computed_in(narrow_model: TextModel, text_model: TextModel) -> None:
    assert (text_model.computed_in, narrow_model.computed_in) == ("fp32", "rounded fp32")


def test_what_models_are_computed_in_is_announced_where_it_differs(
    models_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        load_engine(NarrowConfig(models=models_dir, instances=1))

    assert (
        "loaded tiny-text@1: text, 8 dimensions, fp32 computed in rounded fp32, from random:0, on CPUExecutionProvider"
        in caplog.messages
    )


def test_a_provider_by_name_has_the_options_it_is_given() -> None:
    provider = Provider(name="ROCMExecutionProvider", raw_options={"device_id": "1"})

    assert provider.chain() == [("ROCMExecutionProvider", {"device_id": "1"})]
    assert (provider.most_items, provider.missing(), provider.computed_in("int8")) == (None, [], "int8")
