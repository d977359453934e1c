import asyncio
from dataclasses import dataclass
from typing import cast

import grpc
import pytest

from vecserve_server.api.intake import Intake
from vecserve_server.engine.errors import EngineError, OverloadedError


@dataclass
class Details:
    method: str = "/vecserve.v1.EmbeddingService/EmbedText"


async def admit(intake: Intake, details: Details | None = None, *, until: asyncio.Event) -> EngineError | None:
    """A call, whose task lasts until the event."""
    refusal = intake.admit(cast(grpc.HandlerCallDetails, details or Details()))
    if refusal is None:
        await until.wait()
    return refusal


async def test_calls_are_counted_from_their_beginning_to_the_end_of_their_task() -> None:
    intake, end = Intake(2, 100), asyncio.Event()
    calls = [asyncio.create_task(admit(intake, until=end)) for _ in range(3)]
    await asyncio.sleep(0)
    assert intake.calls == 2
    refusal = await calls[2]
    assert isinstance(refusal, OverloadedError)
    assert str(refusal) == "the server has 2 calls under way, and takes at most 2 at once"
    calls[0].cancel()
    await asyncio.wait(calls[:1])
    assert intake.calls == 1
    end.set()
    await calls[1]
    await asyncio.sleep(0)
    assert intake.calls == 0


async def test_health_is_answered_however_many_calls_there_are() -> None:
    intake, end = Intake(1, 100), asyncio.Event()
    call = asyncio.create_task(admit(intake, until=end))
    await asyncio.sleep(0)
    end.set()
    assert await admit(intake, Details("/grpc.health.v1.Health/Watch"), until=end) is None
    await call


def test_requests_are_held_up_to_a_number_of_bytes() -> None:
    intake = Intake(9, 100)
    with intake.holding(60):
        with intake.holding(40):
            with pytest.raises(OverloadedError, match="has 1 bytes, and the server holds 100 of others") as refused:
                intake.holding(1).__enter__()
            assert refused.value.retry_after == 1.0
        assert intake.held_bytes == 60
    assert intake.held_bytes == 0


def test_a_request_alone_is_taken_however_large_it_is() -> None:
    intake = Intake(9, 100)
    with intake.holding(1000):
        assert intake.held_bytes == 1000


def test_bytes_are_released_by_calls_that_fail() -> None:
    intake = Intake(9, 100)
    with pytest.raises(ZeroDivisionError), intake.holding(60):
        raise ZeroDivisionError
    assert intake.held_bytes == 0


async def test_streams_wait_while_there_is_no_room() -> None:
    intake = Intake(9, 100)
    await intake.room()
    with intake.stretching(150):
        waiting = asyncio.create_task(intake.room())
        await asyncio.sleep(0)
        assert not waiting.done()
    await waiting
