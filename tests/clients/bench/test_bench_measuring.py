import math
from dataclasses import replace

import numpy as np
import pytest
from examples import COST, load_result, measured

from vecserve_bench.measuring import distribution, measurement
from vecserve_bench.settings import AtConcurrency, AtRate
from vecserve_bench.timing import durations
from vecserve_bench.warning import few_calls, harness_limited
from vecserve_loadtest import Status


def test_percentiles_are_latencies_that_occurred_in_milliseconds() -> None:
    found = measured().latency_ms["OK"]

    values = (found.p50, found.p90, found.p95, found.p99, found.p99_9, found.max)
    assert values == pytest.approx((500, 900, 950, 990, 999, 1000), rel=0.0015)
    assert found.mean == pytest.approx(500.5)


def test_failures_count_but_not_in_the_latencies_of_ok_calls() -> None:
    statuses = [Status.UNAVAILABLE if n % 4 == 0 else Status.OK for n in range(1000)]
    found = measured(latencies=[0.001 if n % 4 == 0 else 0.1 for n in range(1000)], statuses=statuses)

    assert found.statuses == {"OK": 750, "UNAVAILABLE": 250}
    assert found.error_share == 0.25
    assert found.latency_ms["OK"].p50 == pytest.approx(100)
    assert found.latency_ms["UNAVAILABLE"].max == pytest.approx(1)
    assert found.latency_ms["all"].calls == 1000
    assert found.failures == {"UNAVAILABLE": "why UNAVAILABLE"}


def test_throughput_is_of_calls_that_ended_in_the_window_and_inputs_are_counted_by_message() -> None:
    found = measured(latencies=[0.05] * 1000)

    assert found.offered_per_s == 100
    assert found.throughput_per_s == 99.5  # the last five ended after it
    assert found.inputs_per_s == pytest.approx(2 * 99.5)


def test_a_distribution_has_five_points_a_halving_up_to_the_slowest_call() -> None:
    points = distribution(np.arange(1, 1025) / 1.0)

    assert points[0] == (0.0, 1.0)
    assert points[5] == (50.0, 512.0)
    assert points[10] == (75.0, 768.0)
    assert points[-1] == (100.0, 1024.0)
    assert len(points) == 5 * 10 + 1
    assert distribution(np.empty(0)) == []


def test_a_timeline_puts_latency_where_calls_were_due_and_throughput_where_they_ended() -> None:
    latencies = [3.0 - n / 100 if n < 300 else 0.001 for n in range(1000)]  # a stall of three seconds at the start

    timeline = measured(latencies=latencies).timeline

    assert timeline.interval_s == pytest.approx(0.2)
    assert timeline.due_per_s == pytest.approx([100] * 50)
    assert timeline.max_ms[0] == pytest.approx(3000)
    assert timeline.max_ms[15] == pytest.approx(1)
    assert timeline.ok_per_s[:15] == [0] * 15
    assert timeline.ok_per_s[15] == pytest.approx(100 + 300 / 0.2)


def test_calls_carried_over_from_the_warm_up_count_where_they_ended() -> None:
    load = replace(load_result([0.001] * 100), carried=np.array([0.1, 0.2]))

    timeline = measurement(AtRate(10), load, [COST], [1, 1]).timeline

    assert timeline.ok_per_s[0] * timeline.interval_s == pytest.approx(20 + 2)


def test_an_interval_without_calls_has_no_latency() -> None:
    load = load_result([0.001] * 1000)
    gap = (load.calls.intended >= 4) & (load.calls.intended < 5)
    moved = replace(load.calls, intended=np.where(gap, 3.99, load.calls.intended))

    timeline = measurement(AtRate(100), replace(load, calls=moved), [COST], [1, 1]).timeline

    assert None in timeline.p50_ms


def test_the_servers_split_is_the_mean_of_the_calls_that_tell_it() -> None:
    split = measured(latencies=[0.010] * 1000).server

    assert split is not None
    assert split.samples == 250
    assert split.stages_ms == {"preprocess": 0.5, "queue": 1.5, "infer": 2.0}
    assert split.rest_ms == pytest.approx(6)
    assert measured(timed=False).server is None


@pytest.mark.parametrize(
    ("trailer", "found"),
    [
        ("preprocess;dur=0.1, queue;dur=4", {"preprocess": 0.1, "queue": 4.0}),
        ('db;desc="x";dur="2.5"', {"db": 2.5}),
        ("cache, app;DUR=1", {"app": 1.0}),
        ("a;dur=x, b;dur=nan, c;dur", {}),
        ("", {}),
    ],
)
def test_server_timing_is_taken_apart(trailer: str, found: dict[str, float]) -> None:
    assert durations(trailer) == found


def test_late_sends_are_told_with_their_distribution() -> None:
    lag = [0.0] * 980 + [0.005] * 20
    found = measured(lag=lag)

    assert (found.sends.late, found.sends.late_share) == (20, 0.02)
    assert (found.sends.lag_p50_ms, found.sends.lag_max_ms) == pytest.approx((0, 5))
    assert any("2 % of the calls were sent more than 1 ms late" in warning for warning in found.warnings)
    assert harness_limited(found)


def test_a_harness_that_took_a_whole_core_says_so() -> None:
    found = measured(cost=replace(COST, user=9.2, system=0.1))

    assert any("the harness was the bottleneck: a process of it took 93 % of a core" in each for each in found.warnings)
    assert any("--processes 2" in each for each in found.warnings)
    assert harness_limited(found)


def test_a_server_that_does_not_keep_up_is_told() -> None:
    found = measured(latencies=[n / 500 for n in range(1000)])

    assert any("it did not keep up" in warning for warning in found.warnings)
    assert not harness_limited(found)


def test_figures_of_a_sound_run_have_no_warning() -> None:
    assert measured(latencies=[0.01] * 1000).warnings == []
    assert measured(AtConcurrency(4), [0.01] * 1000).warnings == []


def test_percentiles_of_few_calls_are_named() -> None:
    assert few_calls(measured(latencies=[0.01] * 50)) == "p99 and p99.9 of 50 calls are the slowest call: run longer"
    assert few_calls(measured(latencies=[0.01] * 500)) == "p99.9 of 500 calls is the slowest call: run longer"
    assert few_calls(measured()) == ""


def test_a_run_without_calls_is_told_in_full() -> None:
    found = measured(latencies=[])

    assert (found.calls, found.statuses, found.latency_ms, found.error_share) == (0, {}, {}, 1.0)
    assert "no call was OK" in found.warnings
    assert not any(math.isnan(value) for value in found.timeline.ok_per_s)
