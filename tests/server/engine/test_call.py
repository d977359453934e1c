import numpy as np
import pytest

from vecserve_server.engine.call import Call
from vecserve_server.engine.errors import EngineError, ExpiredError, InferenceFailedError


@pytest.fixture
def ends() -> list[EngineError | None]:
    """How the call ended, each time it did."""
    return []


@pytest.fixture
def call(ends: list[EngineError | None]) -> Call:
    return Call(np.zeros((3, 2), np.float32), deadline=9.0, on_end=ends.append)


def test_a_call_ends_well_after_its_last_input_whatever_their_order(call: Call, ends: list[EngineError | None]) -> None:
    for index in (2, 0):
        call.advance(index, 1.0, 2.0)
        assert ends == []
    call.advance(1, 1.0, 2.0)

    assert ends == [None]


def test_its_time_runs_from_its_first_batch_to_its_last(call: Call) -> None:
    for index, (started, ended) in enumerate([(5.0, 6.0), (3.0, 9.0), (4.0, 7.0)]):
        call.advance(index, started, ended)

    assert (call.started, call.ended) == (3.0, 9.0)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_vector_that_is_not_finite_fails_the_call(call: Call, ends: list[EngineError | None], wrong: float) -> None:
    call.advance(0, 1.0, 2.0)
    call.vectors[1, 1] = wrong
    call.advance(1, 1.0, 2.0)
    call.advance(2, 1.0, 2.0)

    (error,) = ends
    assert isinstance(error, InferenceFailedError)
    assert "input 1" in str(error)


def test_a_failure_is_told_once_and_abandons_the_rest(call: Call, ends: list[EngineError | None]) -> None:
    error = ExpiredError("late")

    call.fail(error)
    call.fail(InferenceFailedError("later"))
    for index in range(3):
        call.advance(index, 1.0, 2.0)

    assert ends == [error]
    assert call.abandoned


def test_an_abandoned_call_tells_nobody(call: Call, ends: list[EngineError | None]) -> None:
    call.abandon()

    call.fail(ExpiredError("late"))
    for index in range(3):
        call.advance(index, 1.0, 2.0)

    assert ends == []
