import asyncio

import pytest

from vecserve_server.api.intake import Intake
from vecserve_server.engine.errors import OverloadedError
from vecserve_wire.details import Details


class Call:
    """One that lasts until it is told to end."""

    def __init__(self, method: str = "/vecserve.v1.EmbeddingService/EmbedText") -> None:
        self.details = Details(method, ())

    def end(self) -> None:
        for callback in self.details.on_end:
            callback(self)


def test_calls_are_counted_from_their_beginning_to_their_end() -> None:
    intake, first, second = Intake(2, 100), Call(), Call()
    assert intake.admit(first.details) is None
    assert intake.admit(second.details) is None
    assert intake.calls == 2
    refusal = intake.admit(Call().details)
    assert isinstance(refusal, OverloadedError)
    assert str(refusal) == "the server has 2 calls under way, and takes at most 2 at once"
    first.end()
    assert intake.calls == 1
    assert intake.admit(Call().details) is None


def test_health_is_answered_however_many_calls_there_are() -> None:
    intake = Intake(1, 100)
    assert intake.admit(Call().details) is None
    assert intake.admit(Call("/grpc.health.v1.Health/Watch").details) is None


def test_requests_are_held_up_to_a_number_of_bytes() -> None:
    intake = Intake(9, 100)
    intake.hold(60)
    intake.hold(40)
    with pytest.raises(OverloadedError, match="has 1 bytes, and the server holds 100 of others") as refused:
        intake.hold(1)
    assert refused.value.retry_after == 1.0
    assert intake.held_bytes == 100
    intake.release(40)
    intake.hold(1)
    assert intake.held_bytes == 61


def test_a_request_alone_is_taken_however_large_it_is() -> None:
    intake = Intake(9, 100)
    intake.hold(1000)
    assert intake.held_bytes == 1000


async def test_streams_wait_while_there_is_no_room() -> None:
    intake = Intake(9, 100)
    await intake.room()
    intake.stretch(150)
    waiting = asyncio.create_task(intake.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    intake.release(150)
    await waiting
