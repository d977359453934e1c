from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest
from grpc.aio import AbortError
from grpc_health.v1 import health_pb2

from vecserve_server.api.gate import Gate
from vecserve_server.api.health import Health
from vecserve_server.engine.engine import Engine

NAMES = ["", "readiness", "liveness", "a.Service", "model:good", "model:bad"]


class FakeEngine:
    """Serves two models, of which one may fail; or can't serve at all."""

    def __init__(self) -> None:
        self.catalog = [SimpleNamespace(name="good"), SimpleNamespace(name="bad")]
        self.exhausted = False
        self.failing: set[str] = set()

    def works(self, model: Any) -> bool:
        return not self.exhausted and model.name not in self.failing


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
async def told(gate: Gate) -> Any:
    """What is told under each name, once it is told: True, False, or None if the name is unknown."""
    health = Health(["a.Service"], gate)
    servicer = cast(Any, health)._servicer

    class Context:
        async def abort(self, code: grpc.StatusCode, details: str) -> None:
            assert code is grpc.StatusCode.NOT_FOUND
            raise AbortError

    async def check(name: str) -> bool | None:
        try:
            answer = await servicer.Check(health_pb2.HealthCheckRequest(service=name), Context())
        except AbortError:
            return None
        return answer.status == health_pb2.HealthCheckResponse.SERVING

    async def told() -> list[bool | None]:
        await health.tell()
        return [await check(name) for name in NAMES]

    return told


async def test_a_server_that_loads_lives_and_is_not_ready(told: Any) -> None:
    assert await told() == [False, False, True, False, None, None]


async def test_a_server_that_serves_is_ready_with_its_models(told: Any, gate: Gate, engine: FakeEngine) -> None:
    gate.open(cast(Engine, engine))
    assert await told() == [True] * 6


async def test_a_server_that_drains_lives_and_is_not_ready(told: Any, gate: Gate, engine: FakeEngine) -> None:
    gate.open(cast(Engine, engine))
    gate.close()
    assert await told() == [False, False, True, False, False, False]


async def test_a_model_that_fails_does_not_serve_and_the_server_does(told: Any, gate: Gate, engine: FakeEngine) -> None:
    gate.open(cast(Engine, engine))
    engine.failing = {"bad"}
    assert await told() == [True, True, True, True, True, False]


async def test_a_server_none_of_whose_models_works_lives_and_is_not_ready(
    told: Any, gate: Gate, engine: FakeEngine
) -> None:
    gate.open(cast(Engine, engine))
    engine.failing = {"good", "bad"}
    assert await told() == [False, False, True, False, False, False]


async def test_a_server_without_instances_does_not_live(told: Any, gate: Gate, engine: FakeEngine) -> None:
    gate.open(cast(Engine, engine))
    engine.exhausted = True
    assert await told() == [False] * 6


async def test_a_model_that_was_unloaded_does_not_serve(told: Any, gate: Gate, engine: FakeEngine) -> None:
    gate.open(cast(Engine, engine))
    await told()
    del engine.catalog[1]
    assert await told() == [True, True, True, True, True, False]
