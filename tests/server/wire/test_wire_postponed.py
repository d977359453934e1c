import asyncio
from typing import cast

import pytest
from timed_loop import Clock

from vecserve_wire.postponed import Postponed


class Sent:
    """What was answered: stream, block, and whether the peer sends no more."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes, bool]] = []

    def __call__(self, stream_id: int, block: bytes, *, last: bool) -> None:
        self.answers.append((stream_id, block, last))


@pytest.fixture
def sent() -> Sent:
    return Sent()


@pytest.fixture
def postponed(clock: Clock, sent: Sent) -> Postponed:
    postponed = Postponed(sent, cast(asyncio.AbstractEventLoop, clock))
    postponed.add(1, b"one")
    postponed.add(3, b"three")
    return postponed


def test_an_answer_waits_for_a_tenth_of_a_second(postponed: Postponed, clock: Clock, sent: Sent) -> None:
    clock.advance(0.09)
    assert (sent.answers, len(postponed)) == ([], 2)

    clock.advance(0.02)

    assert sent.answers == [(1, b"one", False), (3, b"three", False)]
    assert len(postponed) == 0


def test_an_answer_comes_once_when_its_stream_has_begun(postponed: Postponed, clock: Clock, sent: Sent) -> None:
    postponed.answer(3, last=True)

    assert sent.answers == [(3, b"three", True)]
    assert 3 not in postponed
    clock.advance(1)
    assert sent.answers == [(3, b"three", True), (1, b"one", False)]


def test_streams_that_were_given_up_get_none(postponed: Postponed, clock: Clock, sent: Sent) -> None:
    postponed.forget(1)
    postponed.forget(5)

    clock.advance(1)

    assert sent.answers == [(3, b"three", False)]


def test_all_are_answered_at_once_when_the_connection_ends(postponed: Postponed, clock: Clock, sent: Sent) -> None:
    postponed.answer_all()

    assert [stream for stream, _, _ in sent.answers] == [1, 3]
    clock.advance(1)
    assert len(sent.answers) == 2


def test_a_connection_that_is_gone_leaves_no_timers(postponed: Postponed, clock: Clock, sent: Sent) -> None:
    postponed.forget_all()

    assert len(postponed) == 0
    assert all(handle.cancelled for handle in clock.handles)
