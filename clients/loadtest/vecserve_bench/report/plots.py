"""What a record's measurements look like. Pure."""

from collections.abc import Iterator, Sequence

from vecserve_bench.figures import number
from vecserve_bench.objective import Objective, percentile
from vecserve_bench.record import Measurement, Record, Search, SearchStep, load_name
from vecserve_bench.report.scales import Linear, Log, Tail
from vecserve_bench.report.svg import Axis, Plot, Point, Rule, Series

_MOST_LINES = 8
_LATENCY = "latency, ms (log)"
_SHOWN = (("p50", 50.0, "c1"), ("p90", 90.0, "c4"), ("p99", 99.0, "c2"), ("p99.9", 99.9, "c3"))


def distribution(measurements: Sequence[Measurement], before: Sequence[Measurement] = ()) -> Plot | None:
    """Latency by percentile: one line for each load, dashed for those of an earlier run."""
    named = [(load_name(each), each, False) for each in _thinned(measurements)]
    earlier = [(f"{load_name(each)}, before" if before else "", each, True) for each in before]
    if len(measurements) == len(before) == 1:
        named, earlier = [("after", measurements[0], False)], [("before", before[0], True)]
    lines = [(name, each, dashed) for name, each, dashed in (*earlier, *named) if each.distribution_ms]
    if not lines:
        return None
    series = [
        Series(name, "c0" if dashed else f"c{1 + index % 6}", _tail(each), dashed=dashed)
        for index, (name, each, dashed) in enumerate(sorted(lines, key=lambda each: each[2]))
    ]
    calls = max(each.statuses.get("OK", 1) for _, each, _ in lines)
    values = [value for _, each, _ in lines for _, value in each.distribution_ms]
    return Plot(
        "Latency by percentile",
        Axis("percentile of OK calls", Tail(max(calls, 2))),
        Axis(_LATENCY, Log.over(values)),
        series if len(series) > 1 else [Series("", "c1", _tail(lines[0][1], labelled=True))],
    )


def latency_over_time(measurement: Measurement) -> Plot | None:
    """Median, 99th percentile and maximum of the calls that were due in each interval."""
    timeline = measurement.timeline
    values = [value for value in (*timeline.p50_ms, *timeline.max_ms) if value is not None]
    if not values:
        return None
    columns = (("max", "c0", timeline.max_ms), ("p99", "c2", timeline.p99_ms), ("p50", "c1", timeline.p50_ms))
    return Plot(
        "Latency over time",
        Axis(f"seconds, when calls were due (intervals of {number(timeline.interval_s)} s)", _time(measurement)),
        Axis(_LATENCY, Log.over(values)),
        [
            Series(name, colour, _over_time(measurement, column, name, "ms"), "dots" if name == "max" else "line")
            for name, colour, column in columns
        ],
    )


def throughput_over_time(measurement: Measurement) -> Plot:
    """Calls that ended in each interval, and in an open loop those that were due."""
    timeline = measurement.timeline
    series = [Series("OK", "c1", _over_time(measurement, timeline.ok_per_s, "OK", "calls/s"), "area")]
    if any(timeline.failed_per_s):
        series.append(Series("failed", "c5", _over_time(measurement, timeline.failed_per_s, "failed", "calls/s")))
    if measurement.loop == "open":
        due = _over_time(measurement, timeline.due_per_s, "due", "calls/s")
        series.append(Series("due", "c0", due, dashed=True))
    highest = max(point.y or 0.0 for each in series for point in each.points)
    return Plot(
        "Throughput over time",
        Axis("seconds, when calls ended", _time(measurement)),
        Axis("calls per second", Linear.over(highest)),
        series,
        height=280,
    )


def by_rate(record: Record, before: Record | None = None) -> Plot | None:
    """Latency against the offered rate, of open loops."""
    return _by_load(record, before, [each for each in record.measurements if each.rate_per_s], "offered rate, calls/s")


def by_concurrency(record: Record, before: Record | None = None) -> Plot | None:
    """Latency against the calls in flight, of closed loops."""
    return _by_load(record, before, [each for each in record.measurements if each.concurrency], "calls in flight")


def throughput_by_load(measurements: Sequence[Measurement]) -> Plot:
    """Throughput against concurrency or offered rate."""
    closed = measurements[0].loop == "closed"
    found = [
        Point(_load(each), each.throughput_per_s, f"{load_name(each)}: {number(each.throughput_per_s)} OK/s")
        for each in sorted(measurements, key=_load)
    ]
    series = [Series("" if closed else "answered OK", "c1", found, "both")]
    loads = [point.x for point in found]
    most = max(loads)
    if not closed:
        series.append(Series("offered", "c0", [Point(0, 0), Point(most, most)], dashed=True))
    highest = max(0.0 if closed else most, *(each.throughput_per_s for each in measurements))
    return Plot(
        "Throughput by load",
        Axis("calls in flight (log)", Log.at(loads)) if closed else Axis("offered rate, calls/s", Linear.over(most)),
        Axis("OK calls per second", Linear.over(highest)),
        series,
    )


def trials(record: Record, search: Search) -> Plot | None:
    """What a search tried: the percentile it looks at, by rate, and whether the objective was met."""
    objective = _objective(record)
    tried = [(step, record.measurements[step.measurement]) for step in search.steps if step.holds is not None]
    with_calls = [(step, each) for step, each in tried if each.distribution_ms and each.rate_per_s]
    if not objective or not with_calls:
        return None
    point, limit = objective.latencies_ms[-1]
    places = [_trial(each, point, step) for step, each in with_calls]
    held, missed = ([place for place in places if place.hollow is hollow] for hollow in (False, True))
    values = [limit, *(place.y for place in places if place.y)]
    rules = [Rule(f"p{point:g} ≤ {number(limit)} ms", limit)]
    if search.max_rate_per_s:
        rules.append(Rule(f"{number(search.max_rate_per_s)} calls/s", search.max_rate_per_s, "x", "found"))
    rates = [place.x for place in places]
    return Plot(
        f"p{point:g} by rate",
        Axis("offered rate, calls/s", Linear.over(max(rates), low=min(rates) * 0.9)),
        Axis(f"p{point:g}, ms (log)", Log.over(values)),
        [
            series
            for series in (Series("objective met", "c3", held, "dots"), Series("missed", "c5", missed, "dots"))
            if series.points
        ],
        rules,
    )


def _by_load(record: Record, before: Record | None, measurements: Sequence[Measurement], label: str) -> Plot | None:
    ours = [each for each in measurements if each.distribution_ms]
    if len(ours) < 2:
        return None
    theirs = [each for each in (before.measurements if before else []) if each.distribution_ms]
    theirs = [each for each in theirs if each.loop == ours[0].loop]
    objective = _objective(record)
    limits = objective.latencies_ms if objective else ()
    rules = [Rule(f"objective: p{point:g} ≤ {number(limit)} ms", limit) for point, limit in limits]
    series = [Series(name, colour, _curve(ours, name, point), "both") for name, point, colour in _SHOWN]
    if len(theirs) > 1:
        series = [each for each in series if each.name in ("p50", "p99")]
        series += [
            Series(f"{name}, before", colour, _curve(theirs, name, point), dashed=True)
            for name, point, colour in _SHOWN
            if name in ("p50", "p99")
        ]
    values = [point.y for each in series for point in each.points if point.y]
    loads = [point.x for each in series for point in each.points]
    closed = ours[0].loop == "closed"
    return Plot(
        f"Latency by {label.partition(',')[0]}",
        Axis(f"{label} (log)", Log.at(loads)) if closed else Axis(label, Linear.over(max(loads))),
        Axis(_LATENCY, Log.over([*values, *(rule.value for rule in rules)])),
        series,
        rules,
    )


def _curve(measurements: Sequence[Measurement], name: str, point: float) -> list[Point]:
    values = [(each, percentile(each, point)) for each in sorted(measurements, key=_load)]
    return [Point(_load(each), value, f"{load_name(each)}: {name} {number(value)} ms") for each, value in values]


def _load(measurement: Measurement) -> float:
    return measurement.rate_per_s or measurement.concurrency or 0.0


def _trial(measurement: Measurement, point: float, step: SearchStep) -> Point:
    value = percentile(measurement, point)
    tip = "; ".join([f"{load_name(measurement)}: p{point:g} {number(value)} ms", *step.reasons])
    return Point(_load(measurement), value, tip, hollow=not step.holds)


def _objective(record: Record) -> Objective | None:
    return Objective.parse(record.objective) if record.objective else None


def _tail(measurement: Measurement, *, labelled: bool = False) -> list[Point]:
    *most, (_, slowest) = measurement.distribution_ms
    calls = measurement.statuses.get("OK", 1)
    points = [Point(point, value, f"p{point:.5g}: {number(value)} ms") for point, value in most]
    if labelled:
        named = [each for each in _SHOWN if round((100 - each[1]) * calls) >= 100]
        values = [(name, point, percentile(measurement, point)) for name, point, _ in named]
        points += [Point(point, value, label=f"{name} {number(value)}") for name, point, value in values]
        points.sort(key=lambda point: point.x)
    return [*points, Point(100, slowest, f"slowest of {calls:,} calls: {number(slowest)} ms")]


def _over_time(measurement: Measurement, column: Sequence[float | None], name: str, unit: str) -> list[Point]:
    interval = measurement.timeline.interval_s
    points: list[Point] = []
    for index, value in enumerate(column):
        times = f"{number(index * interval)} to {number((index + 1) * interval)} s"
        tip = "" if value is None else f"{times}: {name} {number(value)} {unit}"
        points.append(Point((index + 0.5) * interval, value, tip))
    return points


def _time(measurement: Measurement) -> Linear:
    return Linear.to(measurement.duration_s)


def _thinned(measurements: Sequence[Measurement]) -> Iterator[Measurement]:
    """Yield as many of the measurements as a reader can tell apart, evenly."""
    step = max(1, -(-len(measurements) // _MOST_LINES))
    yield from measurements[::step]
