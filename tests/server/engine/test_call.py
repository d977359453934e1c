import pytest

from vecserve_server.engine.call import Call
from vecserve_server.engine.errors import EngineError, ExpiredError, InferenceFailedError


@pytest.fixture
def ends() -> list[EngineError | None]:
    """How the call ended, each time it did."""
    return []


@pytest.fixture
def call(ends: list[EngineError | None]) -> Call:
    return Call([b""] * 3, ends.append)


def test_a_call_is_complete_with_its_last_input(call: Call) -> None:
    assert [call.advance(count, 1.0, 2.0) for count in (1, 0, 2)] == [False, False, True]


def test_a_complete_call_ends_well(call: Call, ends: list[EngineError | None]) -> None:
    call.succeed()

    assert ends == [None]


def test_its_time_runs_from_its_first_batch_to_its_last(call: Call) -> None:
    for started, ended in [(5.0, 6.0), (3.0, 9.0), (4.0, 7.0)]:
        call.advance(1, started, ended)

    assert (call.started, call.ended) == (3.0, 9.0)


def test_a_failure_is_told_once_and_abandons_the_rest(call: Call, ends: list[EngineError | None]) -> None:
    error = ExpiredError("late")

    call.fail(error)
    call.fail(InferenceFailedError("later"))
    call.succeed()

    assert ends == [error]
    assert call.abandoned


def test_an_abandoned_call_tells_nobody(call: Call, ends: list[EngineError | None]) -> None:
    call.abandon()

    call.fail(ExpiredError("late"))
    call.succeed()

    assert ends == []
