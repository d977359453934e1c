import pytest
from examples import measured

from vecserve_bench.objective import Objective, percentile
from vecserve_loadtest import Status


@pytest.mark.parametrize(
    ("text", "objective"),
    [
        ("p99=50ms", Objective(((99.0, 50.0),))),
        ("p50=10ms, p99.9=0.2s, errors=1%", Objective(((50.0, 10.0), (99.9, 200.0)), 0.01)),
        ("p95=800us,errors=0%", Objective(((95.0, 0.8),), 0.0)),
    ],
)
def test_an_objective_is_read_and_written(text: str, objective: Objective) -> None:
    assert Objective.parse(text) == objective
    assert Objective.parse(str(objective)) == objective


@pytest.mark.parametrize("text", ["", "p99", "p99=50", "p100=1ms", "p0=1ms", "errors=1%", "p99=5ms,errors=101%", "x=1"])
def test_what_is_no_objective_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="an objective"):
        Objective.parse(text)


def test_a_measurement_within_the_objective_misses_nothing() -> None:
    assert Objective.parse("p50=20ms,p99=20ms").missed(measured(latencies=[0.01] * 1000)) == []


def test_every_way_of_missing_is_told() -> None:
    statuses = [Status.UNAVAILABLE if n % 10 == 0 else Status.OK for n in range(1000)]
    found = measured(latencies=[n / 500 for n in range(1000)], statuses=statuses)

    errors, latency, backlog = Objective.parse("p99=50ms").missed(found)

    assert errors == "10 % of calls failed, most with UNAVAILABLE"
    assert latency.startswith("p99 was 1,9")
    assert backlog.endswith("of 100 calls/s were answered")


def test_failures_within_their_share_are_allowed() -> None:
    statuses = [Status.UNAVAILABLE if n % 100 == 0 else Status.OK for n in range(1000)]

    found = measured(latencies=[0.01] * 1000, statuses=statuses)

    assert Objective.parse("p99=50ms,errors=1%").missed(found) == []
    assert len(Objective.parse("p99=50ms").missed(found)) == 1


def test_without_any_ok_call_the_latency_is_missed() -> None:
    assert Objective.parse("p99=50ms,errors=100%").missed(measured(latencies=[])) == ["p99 was inf ms"]


def test_low_rates_are_measured_longer_for_calls_above_the_percentile() -> None:
    objective = Objective.parse("p50=1ms,p99=50ms")

    assert objective.seconds(1000, 10) == 10
    assert objective.seconds(10, 10) == pytest.approx(50)


def test_percentiles_without_a_name_are_read_off_the_distribution_never_below() -> None:
    found = measured()

    assert percentile(found, 99) == pytest.approx(990)
    assert 750 <= percentile(found, 75) <= 752
    assert 995 <= percentile(found, 99.5) <= 997
