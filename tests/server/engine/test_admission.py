import math

import pytest

from vecserve_server.engine.admission import DeadlineUnmetError, admit
from vecserve_server.engine.errors import OverloadedError


@pytest.mark.parametrize(("work", "patience"), [(1000.0, math.inf), (1.0, 0.5), (1.0, -1.0), (math.inf, 1.0)])
@pytest.mark.parametrize("wait", [0.0, -1e-9])
def test_work_that_need_not_wait_is_accepted_whatever_is_predicted(work: float, patience: float, wait: float) -> None:
    admit(wait, work, patience, longest_wait=0.01)


@pytest.mark.parametrize(("wait", "accepted"), [(10.0, True), (10.01, False)])
def test_a_call_is_refused_when_it_would_wait_longer_than_allowed(wait: float, accepted: bool) -> None:
    if accepted:
        admit(wait, 1000.0, math.inf, longest_wait=10.0)
    else:
        with pytest.raises(OverloadedError, match=r"the queue is full: the work would wait 10\.01 s"):
            admit(wait, 1000.0, math.inf, longest_wait=10.0)


@pytest.mark.parametrize(("patience", "accepted"), [(13.0, True), (12.9, False), (5.0, False), (-1.0, False)])
def test_a_deadline_is_promised_only_if_half_of_its_slack_is_left_after_the_wait(
    patience: float, accepted: bool
) -> None:
    if accepted:
        admit(5.0, 3.0, patience, longest_wait=10.0)
    else:
        with pytest.raises(DeadlineUnmetError, match=r"the deadline can't be met: the work would wait 5\.00 s"):
            admit(5.0, 3.0, patience, longest_wait=10.0)


def test_a_deadline_that_cannot_be_met_is_told_before_a_queue_that_is_full() -> None:
    with pytest.raises(DeadlineUnmetError):
        admit(20.0, 1.0, 10.0, longest_wait=5.0)


def test_a_full_queue_is_no_reason_to_give_up_a_deadline() -> None:
    with pytest.raises(OverloadedError) as refused:
        admit(20.0, 1.0, 100.0, longest_wait=5.0)

    assert not isinstance(refused.value, DeadlineUnmetError)


@pytest.mark.parametrize(
    ("wait", "work", "patience", "retry_after"),
    [
        (12.5, 1.0, math.inf, 2.5),  # until the queue is short enough
        (5.0, 1.0, 5.0, 3.0),  # until the deadline could be met: (5 - 1) / 2 = 2 seconds of wait
        (5.0, 1.0, -2.0, 6.5),
        (10.001, 1.0, math.inf, 0.05),  # nobody is told to come back at once
        (5.0, math.inf, 10.0, 0.05),
    ],
)
def test_a_refusal_says_how_much_less_the_wait_would_have_to_be(
    wait: float, work: float, patience: float, retry_after: float
) -> None:
    with pytest.raises(OverloadedError) as refused:
        admit(wait, work, patience, longest_wait=10.0)

    assert refused.value.retry_after == pytest.approx(retry_after)
