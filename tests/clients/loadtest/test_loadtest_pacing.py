import math
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from vecserve_loadtest import ClosedLoop, OpenLoop
from vecserve_loadtest.pacing import Pacer, Window, pacer, send_offsets

WINDOW = Window(begin=100.0, start=101.0, stop=103.0)


def run_to(pacer: Pacer, now: float, in_flight: int = 0) -> list[float]:
    """Takes what is due."""
    taken: list[float] = []
    while pacer.due(now, in_flight) is not None:
        taken.append(pacer.take())
    return taken


def test_constant_arrivals_have_equal_gaps_and_do_not_drift() -> None:
    offsets = list(islice(send_offsets(OpenLoop(3000, "constant")), 9001))

    assert offsets[:4] == [0, 1 / 3000, 2 / 3000, 3 / 3000]
    assert offsets[9000] == 3.0


def test_a_phase_delays_constant_arrivals() -> None:
    assert list(islice(send_offsets(OpenLoop(10, "constant", phase=0.05)), 2)) == pytest.approx([0.05, 0.15])


def test_poisson_arrivals_have_exponential_gaps_of_the_rate() -> None:
    offsets = np.array(list(islice(send_offsets(OpenLoop(500, "poisson", seed=3)), 50_000)))
    gaps = np.diff(offsets, prepend=0)

    assert np.all(gaps > 0)
    assert gaps.mean() == pytest.approx(1 / 500, rel=0.02)
    assert gaps.std() == pytest.approx(1 / 500, rel=0.02)
    assert np.mean(gaps > 2 / 500) == pytest.approx(math.exp(-2), rel=0.05)


def test_the_seed_decides_poisson_arrivals() -> None:
    first, same, other = (list(islice(send_offsets(OpenLoop(10, seed=seed)), 2000)) for seed in (1, 1, 2))

    assert first == same
    assert first != other


def test_an_open_loop_sends_by_its_schedule_and_stops_with_the_window() -> None:
    loop = pacer(OpenLoop(10, "constant"), WINDOW)

    assert run_to(loop, 99.9) == []
    assert loop.wake(99.9) == 100.0
    assert run_to(loop, 100.25) == [100.0, 100.1, 100.2]
    assert loop.wake(100.25) == pytest.approx(100.3)
    assert len(run_to(loop, 200.0)) == 27
    assert loop.finished(200.0)
    assert loop.wake(200.0) == math.inf


def test_an_open_loop_with_a_number_of_calls_sends_these_after_the_warm_up_and_ends_its_window() -> None:
    window = replace(WINDOW)
    loop = pacer(OpenLoop(10, "constant"), window, calls=3)

    assert run_to(loop, 200.0) == pytest.approx([100 + index / 10 for index in range(13)])
    assert loop.finished(200.0)
    assert window.stop == pytest.approx(101.3)


def test_an_open_loop_keeps_intended_times_while_it_is_held() -> None:
    loop = pacer(OpenLoop(10, "constant", max_in_flight=2), WINDOW)
    assert run_to(loop, 100.05) == [100.0]

    assert run_to(loop, 100.45, in_flight=2) == []
    assert loop.wake(100.45) == math.inf  # only the end of a call helps
    assert not loop.finished(100.45)
    assert run_to(loop, 100.5, in_flight=1) == pytest.approx([100.1, 100.2, 100.3, 100.4, 100.5])
    assert loop.held == 4


def test_calls_that_no_connection_takes_count_as_held() -> None:
    loop = pacer(OpenLoop(10, "constant"), WINDOW)
    assert loop.due(100.05, 0) == 100.0
    loop.hold(100.05)

    assert run_to(loop, 100.1) == [100.0, 100.1]
    assert loop.held == 1


def test_an_open_loop_that_is_behind_catches_up_after_the_windows_stop() -> None:
    loop = pacer(OpenLoop(10, "constant", max_in_flight=1), WINDOW)

    assert run_to(loop, 103.5, in_flight=1) == []
    assert not loop.finished(103.5)
    assert len(run_to(loop, 103.6)) == 30
    assert loop.finished(103.6)


def test_a_closed_loop_is_due_whenever_a_place_is_free_until_the_windows_stop() -> None:
    loop = pacer(ClosedLoop(2), WINDOW)

    assert loop.due(100.0, 0) == 100.0
    assert loop.take() == 100.0
    assert loop.due(100.5, 2) is None
    assert loop.due(102.9, 1) == 102.9
    assert loop.due(103.0, 0) is None
    assert loop.wake(102.0) == math.inf
    assert not loop.finished(102.9)
    assert loop.finished(103.0)
