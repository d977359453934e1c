import math

import pytest

from vecserve_server.engine.admission import Admission
from vecserve_server.engine.errors import OverloadedError


@pytest.fixture
def admission() -> Admission:
    """Of two instances, with 10 seconds of wait allowed."""
    return Admission(2, 10.0)


@pytest.mark.parametrize(("work", "deadline"), [(1000.0, math.inf), (1.0, 0.5), (1.0, -1.0), (math.inf, 1.0)])
def test_an_idle_engine_accepts_whatever_is_predicted(admission: Admission, work: float, deadline: float) -> None:
    admission.admit(work, deadline, now=0.0)

    assert admission.accepted == 1


def test_accepted_work_waits_for_its_share_of_the_instances(admission: Admission) -> None:
    admission.admit(3.0, math.inf, now=0.0)
    admission.admit(5.0, math.inf, now=0.0)

    assert admission.wait == 4.0


def test_a_call_is_refused_when_it_would_wait_longer_than_allowed(admission: Admission) -> None:
    admission.admit(20.0, math.inf, now=0.0)
    admission.admit(0.5, math.inf, now=0.0)

    with pytest.raises(OverloadedError, match=r"the queue is full: the work would wait 10\.25 s") as refusal:
        admission.admit(0.1, math.inf, now=0.0)

    assert refusal.value.retry_after == pytest.approx(0.25)


@pytest.mark.parametrize(("deadline", "accepted"), [(108.0, True), (107.9, False)])
def test_a_call_is_accepted_only_if_wait_and_work_end_by_its_deadline(
    admission: Admission, deadline: float, accepted: bool
) -> None:
    admission.admit(10.0, math.inf, now=100.0)

    if accepted:
        admission.admit(3.0, deadline, now=100.0)
    else:
        with pytest.raises(OverloadedError, match=r"the deadline can't be met: the work would wait 5\.00 s"):
            admission.admit(3.0, deadline, now=100.0)

    assert admission.accepted == 1 + accepted


def test_a_refusal_for_a_deadline_says_how_much_sooner_the_call_had_to_come(admission: Admission) -> None:
    admission.admit(10.0, math.inf, now=0.0)

    with pytest.raises(OverloadedError) as refusal:
        admission.admit(1.0, 4.0, now=0.0)

    assert refusal.value.retry_after == pytest.approx(2.0)


def test_a_deadline_that_has_passed_is_told_to_retry_when_the_queue_is_empty(admission: Admission) -> None:
    admission.admit(10.0, math.inf, now=0.0)

    with pytest.raises(OverloadedError) as refusal:
        admission.admit(1.0, -3.0, now=0.0)

    assert refusal.value.retry_after == 5.0


def test_nobody_is_told_to_come_back_at_once(admission: Admission) -> None:
    admission.admit(20.001, math.inf, now=0.0)

    with pytest.raises(OverloadedError) as refusal:
        admission.admit(1.0, math.inf, now=0.0)

    assert refusal.value.retry_after == 0.05


def test_a_refusal_leaves_the_backlog_as_it_was(admission: Admission) -> None:
    admission.admit(30.0, math.inf, now=0.0)
    with pytest.raises(OverloadedError):
        admission.admit(1.0, math.inf, now=0.0)

    assert (admission.accepted, admission.wait) == (1, 15.0)


def test_released_work_makes_room(admission: Admission) -> None:
    admission.admit(30.0, math.inf, now=0.0)
    admission.release(30.0)
    admission.admit(1.0, math.inf, now=0.0)

    assert (admission.accepted, admission.wait) == (1, 0.5)


def test_an_empty_engine_has_no_backlog_left_over_from_rounding(admission: Admission) -> None:
    for work in (0.1, 0.2, 0.3):
        admission.admit(work, math.inf, now=0.0)
    for work in (0.3, 0.1, 0.2):
        admission.release(work)

    assert (admission.accepted, admission.wait) == (0, 0.0)


def test_work_that_turns_out_larger_makes_others_wait_for_it(admission: Admission) -> None:
    admission.admit(2.0, math.inf, now=0.0)
    admission.revise(2.0, 6.0)

    assert admission.wait == 3.0
