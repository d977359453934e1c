import asyncio
import math
from typing import Any, cast

import pytest

from vecserve_server.api.gate import Gate
from vecserve_server.api.overload import OverloadCheck
from vecserve_server.engine.admission import DeadlineUnmetError
from vecserve_server.engine.engine import Engine
from vecserve_server.engine.errors import OverloadedError
from vecserve_server.engine.priority import Priority
from vecserve_wire.details import Details

TEXT = "/vecserve.v1.EmbeddingService/EmbedText"
REFUSED = DeadlineUnmetError("the deadline can't be met", 1.0)
FULL = OverloadedError("the queue is full", 1.0)


class FullEngine:
    """Refuses all interactive calls but the first `room`, and notes what it is asked."""

    def __init__(self, room: int = 0) -> None:
        self.room = room
        self.asked: list[tuple[Priority, float, int]] = []
        self.alike = 0
        """Calls that were refused without asking."""

    def refusal(self, priority: Priority, patience: float, coming: int = 0) -> OverloadedError | None:
        self.asked.append((priority, patience, coming))
        if priority is not Priority.INTERACTIVE or coming < self.room:
            return None
        return FULL if patience == math.inf else REFUSED

    def refuse_alike(self, priority: Priority, error: OverloadedError) -> None:
        assert priority is Priority.INTERACTIVE
        assert error in (REFUSED, FULL)
        self.alike += 1


def check_of(engine: FullEngine) -> OverloadCheck:
    gate = Gate()
    gate.open(cast(Engine, engine))
    return OverloadCheck(gate)


def details(method: str = TEXT, timeout: float | None = None, *metadata: tuple[str, Any]) -> Details:
    return Details(method, metadata, timeout)


@pytest.mark.parametrize("method", [TEXT, "/vecserve.v1.EmbeddingService/EmbedImage"])
async def test_calls_that_compute_are_refused_while_the_engine_has_too_much_to_do(method: str) -> None:
    assert check_of(FullEngine())(details(method)) is FULL


@pytest.mark.parametrize(
    "method",
    [
        "/inference.GRPCInferenceService/ModelInfer",
        "/vecserve.v1.EmbeddingService/StreamEmbed",
        "/vecserve.v1.ModelService/ListModels",
        "/grpc.health.v1.Health/Check",
    ],
)
def test_calls_that_wait_or_compute_nothing_or_say_later_how_urgent_they_are_are_not(method: str) -> None:
    engine = FullEngine()

    assert check_of(engine)(details(method)) is None
    assert engine.asked == []


async def test_the_engine_is_told_how_urgent_the_call_is_and_how_long_its_caller_waits() -> None:
    engine = FullEngine()
    check = check_of(engine)

    check(details(TEXT, 0.25))
    check(details(TEXT, None, ("x-vecserve-priority", "interactive")))

    assert engine.asked == [(Priority.INTERACTIVE, 0.25, 0), (Priority.INTERACTIVE, math.inf, 0)]


async def test_bulk_calls_are_judged_by_themselves() -> None:
    check = check_of(FullEngine())

    assert check(details(TEXT, None, ("x-vecserve-priority", "bulk"))) is None
    assert check(details()) is FULL


async def test_a_priority_that_is_none_is_left_to_the_handler() -> None:
    assert check_of(FullEngine())(details(TEXT, None, ("x-vecserve-priority", "urgent"))) is None


async def test_a_server_that_is_loading_or_ending_is_left_to_the_handler() -> None:
    gate = Gate()
    check = OverloadCheck(gate)
    assert check(details()) is None

    gate.open(cast(Engine, FullEngine()))
    gate.close()
    assert check(details()) is None


async def test_of_calls_that_come_together_no_more_pass_than_have_room() -> None:
    check = check_of(FullEngine(room=2))

    assert [check(details()) for _ in range(4)] == [None, None, FULL, FULL]

    await asyncio.sleep(0)  # they are with the engine now, which knows of them
    assert check(details()) is None


async def test_who_waits_no_longer_than_one_who_was_just_refused_is_told_the_same() -> None:
    engine = FullEngine()
    check = check_of(engine)

    assert [check(details(TEXT, timeout)) for timeout in (0.25, 0.25, 0.1, 0.3, 0.3, 0.2)] == [REFUSED] * 6

    assert [patience for _, patience, _ in engine.asked] == [0.25, 0.3]
    assert engine.alike == 4


async def test_a_full_queue_is_no_reason_for_who_would_not_wait_that_long_anyway() -> None:
    check = check_of(FullEngine())

    assert [check(details(TEXT, timeout)) for timeout in (None, None, 0.25)] == [FULL, FULL, REFUSED]


async def test_a_refusal_holds_for_calls_that_come_together_and_of_the_same_priority() -> None:
    engine = FullEngine()
    check = check_of(engine)
    assert check(details()) is FULL
    assert check(details(TEXT, None, ("x-vecserve-priority", "bulk"))) is None

    await asyncio.sleep(0)
    engine.room = 1

    assert check(details()) is None
