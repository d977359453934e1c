from dataclasses import replace

import pytest
from examples import closed_sweep, measured, recorded, sweep
from test_bench_record import SEARCH

from vecserve_bench.comparison import Row, compare
from vecserve_bench.settings import AtRate
from vecserve_loadtest import Status


def test_single_measurements_are_compared_whatever_their_loads() -> None:
    before, after = recorded(measured()), recorded(measured(AtRate(200), [0.1] * 2000))

    (pair,) = compare(before, after).pairs

    rows = {row.name: row for row in pair.rows}
    assert rows["p99"].ratio == pytest.approx(100 / 990)
    assert rows["p99"].improved
    assert rows["throughput"].before == before.measurements[0].throughput_per_s
    assert rows["server: infer"].improved is None


def test_of_several_measurements_those_of_the_same_load_are_compared() -> None:
    compared = compare(recorded(*sweep((50, 100))), recorded(*sweep((100, 200))))

    assert [pair.after.rate_per_s for pair in compared.pairs] == [100]


def test_closed_and_open_loops_have_no_load_in_common() -> None:
    assert not compare(recorded(*sweep()), recorded(*closed_sweep())).pairs


def test_searches_are_compared_by_what_they_found() -> None:
    before = recorded(*sweep(), search=SEARCH)
    after = recorded(*sweep(), search=replace(SEARCH, max_rate_per_s=150.0))

    compared = compare(before, after)

    assert compared.max_rate is not None
    assert (compared.max_rate.ratio, compared.max_rate.improved) == (1.5, True)
    assert not compared.pairs


def test_settings_server_and_machine_that_differ_are_named() -> None:
    before = recorded(measured())
    after = recorded(
        measured(),
        settings={**before.settings, "connections": 4, "metadata": ["a", "b"]},
        server=replace(before.server, digest="sha256:bb", address="127.0.0.1:2"),
        client=replace(before.client, cores=8),
        objective="p99=50ms",
    )

    found = {each.name: (each.before, each.after) for each in compare(before, after).differences}

    assert found == {
        "connections": ("1", "4"),
        "metadata": ("-", "a, b"),
        "server: digest": ("sha256:aa", "sha256:bb"),
        "client: cores": ("2", "8"),
        "objective": ("-", "p99=50ms"),
    }


def test_a_figure_that_one_run_lacks_has_no_ratio() -> None:
    failed = measured(latencies=[0.1] * 10, statuses=[Status.INTERNAL] * 10)

    (pair,) = compare(recorded(measured()), recorded(failed)).pairs

    assert {row.name: row.ratio for row in pair.rows}["p99"] is None


@pytest.mark.parametrize(
    ("better", "after", "improved"),
    [("lower", 96, None), ("lower", 94, True), ("lower", 106, False), ("higher", 106, True), ("higher", 94, False)],
)
def test_small_changes_are_neither_better_nor_worse(better: str, after: float, improved: bool | None) -> None:
    assert Row("p99", "ms", 100, after, better).improved is improved  # pyright: ignore[reportArgumentType] - a literal
