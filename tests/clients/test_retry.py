from dataclasses import dataclass

import grpc
import pytest

from vecserve import OverloadedError, RetryPolicy, UnavailableError, VecserveError
from vecserve.options import Options

POLICY = RetryPolicy(max_attempts=5, initial_backoff=0.1, max_backoff=0.5, multiplier=2, jitter=0.1)
NEVER = float("inf")


def refused(retry_after: float | None = None) -> UnavailableError:
    error = OverloadedError("the queue is full", code=grpc.StatusCode.UNAVAILABLE)
    error.retry_after = retry_after
    return error


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("attempt", "bound"), [(1, 0.1), (2, 0.2), (3, 0.4), (4, 0.5)])
def test_backoff_is_drawn_below_a_bound_that_doubles_up_to_its_limit(attempt: int, bound: float) -> None:
    assert POLICY.wait(refused(), attempt, NEVER, draw=lambda: 0.0) == 0
    assert POLICY.wait(refused(), attempt, NEVER, draw=lambda: 0.5) == pytest.approx(bound / 2)
    assert POLICY.wait(refused(), attempt, NEVER, draw=lambda: 1.0) == pytest.approx(bound)


def test_the_bound_holds_after_very_many_attempts() -> None:
    assert RetryPolicy(max_attempts=10_000).wait(refused(), 5000, NEVER, draw=lambda: 1.0) == 5.0


def test_the_servers_delay_is_waited_in_full_and_a_little_more() -> None:
    assert POLICY.wait(refused(2.0), 1, NEVER, draw=lambda: 0.0) == 2.0
    assert POLICY.wait(refused(2.0), 1, NEVER, draw=lambda: 1.0) == pytest.approx(2.2)


def test_a_delay_of_zero_is_no_leave_to_hammer_the_server() -> None:
    assert POLICY.wait(refused(0.0), 1, NEVER, draw=lambda: 1.0) == pytest.approx(0.1)


def test_the_last_attempts_error_is_final() -> None:
    assert POLICY.wait(refused(), 4, NEVER) is not None
    assert POLICY.wait(refused(), 5, NEVER) is None


def test_a_wait_as_long_as_what_remains_is_not_begun() -> None:
    assert POLICY.wait(refused(2.0), 1, remaining=2.0, draw=lambda: 0.0) is None
    assert POLICY.wait(refused(2.0), 1, remaining=2.1, draw=lambda: 0.0) == 2.0


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.UNAVAILABLE])
def test_only_unavailable_is_retried(code: grpc.StatusCode) -> None:
    assert POLICY.wait(VecserveError("failed", code=code), 1, NEVER) is None


@pytest.mark.parametrize(
    ("argument", "value"),
    [("max_attempts", 0), ("initial_backoff", -1.0), ("max_backoff", 0.01), ("multiplier", 0.5), ("jitter", -0.1)],
)
def test_a_policy_out_of_range_names_the_argument(argument: str, value: float) -> None:
    with pytest.raises(ValueError, match=argument):
        RetryPolicy(**{argument: value})  # pyright: ignore[reportArgumentType] - some of the fields are int


def test_a_deadline_counts_down_and_stops_at_zero() -> None:
    clock = Clock()
    options = Options("localhost:1", 30.0, 32, 4, POLICY, None, None, False, ())
    deadline = options.deadline(5.0, clock)

    assert deadline.remaining() == 5.0
    clock.now += 3
    assert deadline.remaining() == 2.0
    clock.now += 3
    assert deadline.remaining() == 0.0
