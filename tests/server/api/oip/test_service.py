"""What is answered before the engine is there, and after it has gone."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from vecserve.oip import grpc_inference_service_pb2 as pb
from vecserve_server.api.gate import Gate
from vecserve_server.api.oip.service import InferenceServicer
from vecserve_server.engine.catalog import Catalog
from vecserve_server.engine.engine import Engine
from vecserve_server.engine.errors import InvalidInputError, NotReadyError
from vecserve_server.engine.statistics import Statistics
from vecserve_server.models.model import TextModel

CONTEXT = cast(Any, None)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def servicer(gate: Gate) -> InferenceServicer:
    return InferenceServicer(gate, Statistics(), max_items=7)


@pytest.fixture
def engine(text_model: TextModel) -> Engine:
    """It works until `broken` is set."""
    engine = SimpleNamespace(catalog=Catalog([text_model]), exhausted=False, broken=False)

    def works(model: TextModel) -> bool:
        return not engine.broken

    engine.works = works
    return cast(Engine, engine)


async def readiness(servicer: InferenceServicer) -> tuple[bool, bool, bool]:
    live = await servicer.ServerLive(pb.ServerLiveRequest(), CONTEXT)
    ready = await servicer.ServerReady(pb.ServerReadyRequest(), CONTEXT)
    model = await servicer.ModelReady(pb.ModelReadyRequest(name="tiny-text"), CONTEXT)
    return live.live, ready.ready, model.ready


async def test_readiness_follows_the_gate(servicer: InferenceServicer, gate: Gate, engine: Engine) -> None:
    assert await readiness(servicer) == (True, False, False)
    gate.open(engine)
    assert await readiness(servicer) == (True, True, True)
    gate.close()
    assert await readiness(servicer) == (True, False, False)


async def test_what_the_server_is_can_be_asked_while_it_loads(servicer: InferenceServicer) -> None:
    told = await servicer.ServerMetadata(pb.ServerMetadataRequest(), CONTEXT)

    assert told.name == "vecserve"
    assert "statistics" in told.extensions  # without it, perf_analyzer shows nothing of the server


@pytest.mark.parametrize("method", ["ModelMetadata", "ModelConfig", "ModelStatistics", "ModelInfer", "RepositoryIndex"])
async def test_models_are_not_described_while_they_load(servicer: InferenceServicer, method: str) -> None:
    request = getattr(pb, f"{method}Request")

    with pytest.raises(NotReadyError):
        await getattr(servicer, method)(request(), CONTEXT)


async def test_the_index_names_what_is_loaded(servicer: InferenceServicer, gate: Gate, engine: Engine) -> None:
    gate.open(engine)

    told = await servicer.RepositoryIndex(pb.RepositoryIndexRequest(), CONTEXT)

    assert [(model.name, model.version, model.state) for model in told.models] == [("tiny-text", "1", "READY")]


async def test_a_model_whose_runs_fail_is_not_ready_and_the_server_is_live(
    servicer: InferenceServicer, gate: Gate, engine: Engine
) -> None:
    gate.open(engine)
    cast(Any, engine).broken = True

    assert await readiness(servicer) == (True, False, False)
    told = await servicer.RepositoryIndex(pb.RepositoryIndexRequest(), CONTEXT)
    assert [model.state for model in told.models] == ["UNAVAILABLE"]
    told = await servicer.RepositoryIndex(pb.RepositoryIndexRequest(ready=True), CONTEXT)
    assert not told.models


async def test_a_model_without_a_name_is_asked_for_one(servicer: InferenceServicer, gate: Gate, engine: Engine) -> None:
    gate.open(engine)

    with pytest.raises(InvalidInputError, match="model_name is empty: RepositoryIndex shows the names"):
        await servicer.ModelInfer(pb.ModelInferRequest(), CONTEXT)
    with pytest.raises(InvalidInputError, match="name is empty"):
        await servicer.ModelReady(pb.ModelReadyRequest(), CONTEXT)


async def test_the_configuration_has_the_servers_limit(servicer: InferenceServicer, gate: Gate, engine: Engine) -> None:
    gate.open(engine)

    told = await servicer.ModelConfig(pb.ModelConfigRequest(name="tiny-text", version="1"), CONTEXT)

    assert (told.config.name, told.config.max_batch_size) == ("tiny-text", 7)
