import math

import pytest

from vecserve_server.engine.admission import DeadlineUnmetError, LeastWork, refusal
from vecserve_server.engine.errors import OverloadedError


@pytest.mark.parametrize(("work", "patience"), [(1000.0, math.inf), (1.0, 0.5), (1.0, -1.0), (math.inf, 1.0)])
@pytest.mark.parametrize("wait", [0.0, -1e-9])
def test_work_that_need_not_wait_is_accepted_whatever_is_predicted(work: float, patience: float, wait: float) -> None:
    assert refusal(wait, work, patience, longest_wait=0.01) is None


def test_a_call_is_refused_when_it_would_wait_longer_than_allowed() -> None:
    assert refusal(10.0, 1000.0, math.inf, longest_wait=10.0) is None
    refused = refusal(10.01, 1000.0, math.inf, longest_wait=10.0)
    assert type(refused) is OverloadedError
    assert str(refused) == "the queue is full: the work would wait 10.01 s"


@pytest.mark.parametrize(("patience", "accepted"), [(13.0, True), (12.9, False), (5.0, False), (-1.0, False)])
def test_a_deadline_is_promised_only_if_half_of_its_slack_is_left_after_the_wait(
    patience: float, accepted: bool
) -> None:
    refused = refusal(5.0, 3.0, patience, longest_wait=10.0)
    assert accepted is (refused is None)
    if refused:
        assert isinstance(refused, DeadlineUnmetError)
        assert str(refused) == "the deadline can't be met: the work would wait 5.00 s"


def test_a_deadline_that_cannot_be_met_is_told_before_a_queue_that_is_full() -> None:
    assert isinstance(refusal(20.0, 1.0, 10.0, longest_wait=5.0), DeadlineUnmetError)


def test_a_full_queue_is_no_reason_to_give_up_a_deadline() -> None:
    assert type(refusal(20.0, 1.0, 100.0, longest_wait=5.0)) is OverloadedError


@pytest.mark.parametrize(
    ("wait", "work", "patience", "retry_after"),
    [
        (12.5, 1.0, math.inf, 2.5),  # until the queue is short enough
        (5.0, 1.0, 5.0, 3.0),  # until the deadline could be met: (5 - 1) / 2 = 2 seconds of wait
        (5.0, 1.0, -2.0, 6.5),
        (12.501, 1.0, math.inf, 2.51),  # in hundredths, and never too early
        (10.001, 1.0, math.inf, 0.05),  # nobody is told to come back at once
        (5.0, math.inf, 10.0, 0.05),
    ],
)
def test_a_refusal_says_how_much_less_the_wait_would_have_to_be(
    wait: float, work: float, patience: float, retry_after: float
) -> None:
    refused = refusal(wait, work, patience, longest_wait=10.0)

    assert refused
    assert refused.retry_after == pytest.approx(retry_after)


def test_the_least_work_is_that_of_the_smallest_of_the_latest_calls() -> None:
    least = LeastWork()
    assert (least.within(math.inf), least.queued) == (0.0, 0.0)

    for work in (3.0, 1.0, 2.0, 5.0):
        least.observe(work, work / 2)

    assert 1.0 <= least.within(math.inf) < 1.03
    assert 0.5 <= least.queued < 0.52


def test_smaller_calls_that_come_no_more_are_forgotten_within_a_few_hundred() -> None:
    least = LeastWork()
    least.observe(1.0, 1.0)

    for _ in range(300):
        least.observe(10.0, 5.0)

    assert (least.within(math.inf), least.queued) == (10.0, 5.0)


def test_calls_that_are_refused_unread_are_less_and_less_taken_for_large_ones() -> None:
    least = LeastWork()
    least.observe(10.0, 5.0)

    for _ in range(3000):
        least.refused()

    assert least.within(math.inf) < 0.6
    assert least.queued < 0.3


def test_what_was_doubted_for_long_is_known_again_after_a_few_hundred_calls() -> None:
    least = LeastWork()
    least.observe(10.0, 5.0)
    for _ in range(1_000_000):
        least.refused()

    for _ in range(500):
        least.observe(10.0, 5.0)

    assert (least.within(math.inf), least.queued) == (10.0, 5.0)


@pytest.mark.parametrize(("patience", "seconds"), [(100.0, 2.0), (20.0, 1.0), (0.0, 0.0), (-1.0, 0.0)])
def test_of_a_call_that_is_in_a_hurry_little_is_taken_for_granted(patience: float, seconds: float) -> None:
    """Or small calls would be refused for as long as there are large ones."""
    least = LeastWork()
    least.observe(2.0, 2.0)

    assert least.within(patience) == seconds
