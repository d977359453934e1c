"""The HTML report: that it stands alone, is well-formed, and shows what it should. How it looks, people judge."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from examples import closed_sweep, measured, recorded, sweep
from hypothesis import given
from hypothesis import strategies as st
from test_bench_record import SEARCH

from vecserve_bench.figures import number, percent
from vecserve_bench.record import Record
from vecserve_bench.report import report
from vecserve_bench.report.scales import Linear, Log, Scale, Tail
from vecserve_bench.settings import AtConcurrency, AtRate
from vecserve_loadtest import Status

FAILING = [Status.UNAVAILABLE if n % 4 == 1 else Status.OK for n in range(1000)]
ONE = recorded(measured(statuses=FAILING))
RECORDS = {
    "one": ONE,
    "closed": recorded(measured(AtConcurrency(4))),
    "no calls": recorded(measured(latencies=[])),
    "no ok call": recorded(measured(latencies=[0.1] * 10, statuses=[Status.INTERNAL] * 10)),
    "one call": recorded(measured(latencies=[0.1])),
    "equal latencies": recorded(measured(latencies=[0.1] * 1000)),
    "rates": recorded(*sweep(), objective="p99=50ms"),
    "concurrencies": recorded(*closed_sweep()),
    "search": recorded(*sweep(), search=SEARCH, objective=SEARCH.objective),
    "search without a rate": recorded(
        *sweep(), search=replace(SEARCH, max_rate_per_s=None, limited_by="harness"), objective=SEARCH.objective
    ),
    "interrupted": recorded(notes=["interrupted after 0 measurements"]),
}


def plots(page: str) -> dict[str, ElementTree.Element]:
    found = [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]
    return {svg.attrib["aria-label"]: svg for svg in found}


def texts(svg: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in svg.iter("text")]


class Balance(HTMLParser):
    """Notes elements that are not closed in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("before", [None, *RECORDS])
def test_a_report_is_well_formed_and_needs_nothing_else(name: str, before: str | None) -> None:
    page = report(RECORDS[name], RECORDS[before] if before else None)

    balance = Balance()
    balance.feed(page)
    assert (balance.open, balance.faults) == ([], [])
    assert not re.search(r"https?:|src=|href=|url\(|@import|<script", page)
    assert not re.search(r"\b(nan|inf|None)\b", page)
    plots(page)


def test_nothing_that_was_recorded_is_taken_for_markup() -> None:
    hostile = '<b onclick="x">&'
    named = replace(ONE.measurements[0], failures={"UNAVAILABLE": hostile}, warnings=[hostile])
    page = report(
        recorded(
            named,
            title=hostile,
            work=hostile,
            command=hostile,
            notes=[hostile],
            settings={hostile: hostile},
            server=replace(ONE.server, model=hostile),
        )
    )

    assert "<b onclick" not in page
    assert page.count("&lt;b onclick=&quot;x&quot;&gt;&amp;") >= 8


def test_the_first_thing_to_see_is_what_was_reached() -> None:
    page = report(recorded(measured(latencies=[0.01] * 500 + [0.5] * 5 + [0.01] * 495)))

    cards = re.findall(r"<b>(.*?)</b><span>(.*?)</span>", page)
    assert cards[:2] == [("99.9", "OK calls/s of 100 offered"), ("10 ms", "median")]
    assert ("500 ms", "p99.9") in cards
    assert cards[-1] == ("0 %", "errors")


def test_plots_name_their_axes_with_units_and_their_lines() -> None:
    shown = plots(report(ONE))

    assert {"percentile of OK calls", "latency, ms (log)"} <= set(texts(shown["Latency by percentile"]))
    assert "p99 990" in texts(plots(report(RECORDS["closed"]))["Latency by percentile"])
    assert {"latency, ms (log)", "max", "p99", "p50"} <= set(texts(shown["Latency over time"]))
    assert {"calls per second", "OK", "failed", "due"} <= set(texts(shown["Throughput over time"]))
    assert {"queue 1.5 ms", "infer 2 ms"} <= set(texts(shown["Mean of OK calls, by stage"]))


def test_a_sweep_shows_latency_by_rate_with_the_objective() -> None:
    shown = plots(report(RECORDS["rates"]))

    assert {"offered rate, calls/s", "p50", "p99.9", "objective: p99 ≤ 50 ms"} <= set(
        texts(shown["Latency by offered rate"])
    )
    assert {"50 calls/s", "100 calls/s", "200 calls/s"} <= set(texts(shown["Latency by percentile"]))


def test_a_sweep_of_concurrencies_marks_them_on_its_axis() -> None:
    shown = plots(report(RECORDS["concurrencies"]))

    assert {"1", "4", "16", "calls in flight (log)"} <= set(texts(shown["Latency by calls in flight"]))


def test_a_search_shows_its_trials_and_what_it_found() -> None:
    page = report(RECORDS["search"])

    assert {"missed", "p99 ≤ 50 ms", "100 calls/s"} <= set(texts(plots(page)["p99 by rate"]))
    assert "confirm: p99 was 60 ms" in page
    assert "Above it, the server missed the objective." in page


def test_an_earlier_run_is_drawn_beside_the_later_one() -> None:
    page = report(ONE, recorded(measured(latencies=[0.2] * 1000)))

    assert {"before", "after"} <= set(texts(plots(page)["Latency by percentile"]))
    assert "What else differs" not in page
    assert "Settings, server and machine are the same." in page


SCALES = [
    Linear.over(0.37),
    Linear.over(123, low=90),
    Linear.to(9.7),
    Log.over([0.3, 4000]),
    Log.over([7, 7]),
    Log.at([1, 4, 64]),
    Tail(1000),
]


@pytest.mark.parametrize("scale", SCALES)
def test_ticks_are_on_the_axis_and_in_order(scale: Scale) -> None:
    places = [place for place, _ in scale.ticks]

    assert len([label for _, label in scale.ticks if label]) >= 2
    assert places == sorted(places)
    assert places[0] >= 0
    assert places[-1] <= 1.001


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=20))
def test_all_values_are_within_their_scales(values: list[float]) -> None:
    for scale in (Log.over(values), Linear.over(max(values)), Log.at(values)):
        assert all(-1e-9 <= scale.place(value) <= 1 + 1e-9 for value in values)


def test_percentiles_spread_out_towards_the_slowest_call() -> None:
    tail = Tail(10_000)

    assert tail.place(0) == 0
    assert tail.place(100) == pytest.approx(1)
    assert np.diff([tail.place(each) for each in (90, 99, 99.9)]) == pytest.approx([tail.place(90)] * 2)
    assert [label for _, label in Tail(150).ticks] == ["0", "50", "75", "90", "95", "99", "99.5", "max"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.12345, "0.1235"), (12.345, "12.35"), (1234.5, "1,234"), (123456, "123,456"), (50, "50"), (1e-7, "0")],
)
def test_numbers_have_four_digits(value: float, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(("share", "shown"), [(0, "0 %"), (0.00031, "0.031 %"), (0.126, "13 %"), (1, "100 %")])
def test_shares_are_shown_as_percent(share: float, shown: str) -> None:
    assert percent(share) == shown


def test_rates_name_the_loads() -> None:
    assert "1,234 calls/s" in report(recorded(measured(AtRate(1234.4)), measured(AtRate(10))))


def test_every_record_can_be_shown() -> None:
    assert all(isinstance(record, Record) and report(record) for record in RECORDS.values())
