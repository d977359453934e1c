import math
from dataclasses import replace

import numpy as np
import pytest

from vecserve_loadtest import ClosedLoop, Ending, Load, LoadResult, OpenLoop, Status, Workload
from vecserve_loadtest.calls import Call
from vecserve_loadtest.ledger import Ledger
from vecserve_loadtest.outbox import Body
from vecserve_loadtest.pacing import Window
from vecserve_loadtest.result import ConnectionCounts, ProcessCost

WINDOW = Window(begin=10.0, start=11.0, stop=13.0)
CLOSED = Load("closed", Workload("/a.B/C", [b""]), ClosedLoop(1))
OPEN = Load("open", Workload("/a.B/C", [b""]), OpenLoop(10))


def ended(
    ledger: Ledger,
    intended: float,
    completed: float,
    *,
    sent: float | None = None,
    status: Status = Status.OK,
    ending: Ending = Ending.ANSWERED,
    response: bytes = b"",
) -> None:
    """Enters a call from its beginning to its end."""
    call = Call(Body(b""), 0, intended)
    if ending is not Ending.UNSENT:
        call.sent = intended if sent is None else sent
        ledger.opened(call.sent)
        if ledger.keeping:
            call.parts = [bytes(5), response]
        call.received = 5 + len(response)
    ledger.closed(call, completed, status, ending)


def result(ledger: Ledger, late_after: float = 0.001) -> LoadResult:
    return LoadResult(
        name="load",
        duration=WINDOW.stop - WINDOW.start,
        calls=ledger.calls(),
        totals=ledger.totals(),
        ok_in_window=ledger.ok_in_window,
        carried=np.array(ledger.carried),
        max_in_flight=ledger.max_in_flight,
        held=0,
        late_after=late_after,
        connections=ConnectionCounts(1, 0, 0, ""),
        failures=ledger.failures,
        responses=ledger.responses,
        server_timings=ledger.server_timings,
    )


def test_a_closed_loop_measures_the_calls_that_end_within_the_window() -> None:
    ledger = Ledger(CLOSED, WINDOW)
    for intended, completed in [(10.0, 10.9), (10.8, 11.0), (11.5, 12.0), (12.5, 13.0)]:
        ended(ledger, intended, completed)

    measured = result(ledger)

    assert measured.calls.intended.tolist() == pytest.approx([-0.2, 0.5])
    assert measured.calls.completed.tolist() == pytest.approx([0.0, 1.0])
    assert measured.throughput == 1.0
    assert measured.totals.sent == measured.totals.answered == 4


def test_an_open_loop_measures_the_calls_that_are_due_within_the_window_whenever_they_end() -> None:
    ledger = Ledger(OPEN, WINDOW)
    for intended, completed in [(10.9, 11.1), (11.0, 11.2), (12.9, 15.9), (13.0, 13.1)]:
        ended(ledger, intended, completed)

    measured = result(ledger)

    assert measured.calls.latency.tolist() == pytest.approx([0.2, 3.0])
    assert measured.ok_in_window == 2  # an answer counts as throughput when it comes
    assert measured.carried.tolist() == pytest.approx([0.1])


def test_latency_counts_from_the_intended_time_and_late_sends_are_told() -> None:
    ledger = Ledger(OPEN, WINDOW)
    ended(ledger, 11.0, 11.1, sent=11.0005)
    ended(ledger, 11.5, 12.1, sent=12.0)

    measured = result(ledger)

    assert measured.latencies().tolist() == pytest.approx([0.1, 0.6])
    assert measured.late_sends == 1
    assert result(ledger, late_after=0.0001).late_sends == 2


def test_every_call_is_accounted_for_by_how_it_ended() -> None:
    ledger = Ledger(OPEN, WINDOW)
    ended(ledger, 11.0, 11.1)
    ended(ledger, 11.0, 11.2, status=Status.NOT_FOUND)
    ended(ledger, 11.0, 11.3, status=Status.DEADLINE_EXCEEDED, ending=Ending.EXPIRED)
    ended(ledger, 11.0, 11.4, status=Status.UNAVAILABLE, ending=Ending.DISCONNECTED)
    ended(ledger, 11.0, 14.0, status=Status.CANCELLED, ending=Ending.ABANDONED)
    ended(ledger, 11.0, 11.0, status=Status.UNAVAILABLE, ending=Ending.UNSENT)

    measured = result(ledger)
    totals = measured.totals

    assert totals.sent == totals.answered + totals.lost == 5
    assert (totals.answered, totals.expired, totals.disconnected, totals.abandoned, totals.unsent) == (2, 1, 1, 1, 1)
    assert measured.statuses == {"OK": 1, "CANCELLED": 1, "DEADLINE_EXCEEDED": 1, "NOT_FOUND": 1, "UNAVAILABLE": 2}
    assert measured.endings == {"ANSWERED": 2, "EXPIRED": 1, "DISCONNECTED": 1, "ABANDONED": 1, "UNSENT": 1}
    assert np.isnan(measured.calls.sent).tolist() == [False] * 5 + [True]
    assert ledger.in_flight == 0
    assert "connection was lost" in measured.failures["UNAVAILABLE"]


def test_most_in_flight_counts_within_the_window_only() -> None:
    ledger = Ledger(CLOSED, WINDOW)
    calls = [Call(Body(b""), 0, 10.0) for _ in range(3)]
    for _ in calls:
        ledger.opened(10.5)
    for call in calls[:2]:
        ledger.closed(call, 10.9, Status.OK, Ending.ANSWERED)
    assert ledger.max_in_flight == 0

    ledger.opened(11.5)
    assert ledger.max_in_flight == 2


@pytest.mark.parametrize(("keep", "kept"), [("none", {}), ("first", {1: b"b"}), ("all", {1: b"b", 3: b"d"})])
def test_ok_responses_are_kept_by_their_rows(keep: str, kept: dict[int, bytes]) -> None:
    ledger = Ledger(replace(CLOSED, keep_responses=keep), WINDOW)  # pyright: ignore[reportArgumentType] - a literal
    ended(ledger, 10.0, 10.5, response=b"warm-up")
    ended(ledger, 11.0, 11.1, response=b"a", status=Status.NOT_FOUND)
    ended(ledger, 11.1, 11.2, response=b"b")
    ended(ledger, 11.2, 11.3, response=b"c", status=Status.UNAVAILABLE, ending=Ending.DISCONNECTED)
    ended(ledger, 11.3, 11.4, response=b"d")

    measured = result(ledger)

    assert measured.responses == kept
    assert measured.calls.response_bytes.tolist() == [1, 1, 1, 1]


def test_percentiles_are_latencies_that_occurred_overall_and_by_status() -> None:
    ledger = Ledger(CLOSED, WINDOW)
    for index in range(1, 101):
        ended(ledger, 11.0, 11.0 + index / 1000)
    ended(ledger, 11.0, 12.9, status=Status.UNAVAILABLE)

    measured = result(ledger)

    assert measured.percentiles((50, 99), Status.OK) == pytest.approx({50: 0.050, 99: 0.099})
    assert measured.percentiles((100,)) == pytest.approx({100: 1.9})
    assert measured.percentiles(status=Status.INTERNAL) is None


def test_a_load_without_calls_has_empty_columns() -> None:
    measured = result(Ledger(CLOSED, WINDOW))

    assert measured.calls.status.shape == (0,)
    assert measured.throughput == 0
    assert measured.statuses == {}
    assert measured.percentiles() is None
    assert measured.late_sends == 0


def test_the_process_cost_is_told_per_call_and_as_share_of_a_core() -> None:
    cost = ProcessCost(user=0.3, system=0.1, elapsed=2.0, calls=10_000)

    assert cost.per_call == pytest.approx(40e-6)
    assert cost.core_share == pytest.approx(0.2)
    assert math.isnan(replace(cost, calls=0).per_call)
