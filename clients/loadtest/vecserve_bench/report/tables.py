"""Measurements as tables. Pure."""

from collections.abc import Iterable, Sequence

from vecserve_bench.figures import number, percent
from vecserve_bench.record import Measurement, Percentiles, SearchStep, load_name
from vecserve_bench.report.markup import Cell, paragraph, table

_LATENCIES = ("p50", "p90", "p95", "p99", "p99.9", "max")


def latencies(measurement: Measurement) -> str:
    """Return the latencies of each status."""
    rows = [
        (status, f"{found.calls:,}", number(found.mean), *_latencies(found, _LATENCIES))
        for status, found in measurement.latency_ms.items()
        if status != "all" or len(measurement.latency_ms) > 2
    ]
    note = "Milliseconds from when a call was due to its end. No figure is interpolated: each is the latency of a call."
    return table(("status", "calls", "mean", *_LATENCIES), rows) + paragraph(note, "dim")


def loads(measurements: Iterable[Measurement]) -> str:
    """Return a row for each load."""
    heads = ("load", "OK/s", "inputs/s", *(f"{name}, ms" for name in _LATENCIES), "errors")
    return table(heads, map(_load, measurements))


def trials(steps: Iterable[tuple[SearchStep, Measurement]]) -> str:
    """Return a row for each trial of a search, in their order."""
    heads = ("load", "seconds", "OK/s", "p50, ms", "p99, ms", "p99.9, ms", "errors", "result")
    return table(heads, ([*_trial(each), _verdict(step)] for step, each in steps), words_from=7)


def statuses(measurement: Measurement) -> str:
    """Return how many calls had each status, and what the first of each said."""
    rows = [
        (name, f"{count:,}", percent(count / measurement.calls), measurement.failures.get(name, ""))
        for name, count in measurement.statuses.items()
    ]
    width = 4 if any(name != "OK" for name in measurement.statuses) else 3
    heads = ("status", "calls", "share", "first message")
    return table(heads[:width], [row[:width] for row in rows], words_from=3)


def sending(measurements: Sequence[Measurement]) -> str:
    """Return how well the harness did its part."""
    heads = ["load", "most in flight", "CPU a call, µs", "of a core", "real-time"]
    core = "Of a core: the largest share that a process of the harness took."
    if not (open_loops := [each for each in measurements if each.loop == "open"]):
        return table(heads, map(_harness, measurements)) + paragraph(core, "dim")
    heads += ["late", "p50 lag, ms", "p99 lag", "p99.9 lag", "max lag"]
    late = f"Late: sent more than {open_loops[0].sends.late_after_ms:g} ms after it was due; the lag is how long after."
    rows = ([*_harness(each), *_lags(each)] for each in measurements)
    return table(heads, rows) + paragraph(f"{core} {late}", "dim")


def _latencies(found: Percentiles | None, names: Sequence[str]) -> list[str]:
    return [number(getattr(found, name.replace(".", "_"))) if found else "-" for name in names]


def _load(measurement: Measurement) -> Sequence[str]:
    reached = (number(measurement.throughput_per_s), number(measurement.inputs_per_s))
    latency = _latencies(measurement.latency_ms.get("OK"), _LATENCIES)
    return (load_name(measurement), *reached, *latency, percent(measurement.error_share))


def _trial(measurement: Measurement) -> Sequence[str]:
    reached = (number(measurement.duration_s), number(measurement.throughput_per_s))
    latency = _latencies(measurement.latency_ms.get("OK"), ("p50", "p99", "p99.9"))
    return (load_name(measurement), *reached, *latency, percent(measurement.error_share))


def _verdict(step: SearchStep) -> Cell:
    if step.holds is None:
        return Cell("capacity")
    if step.holds:
        return Cell(f"{step.purpose}: met", "good")
    return Cell(f"{step.purpose}: {'; '.join(step.reasons)}", "bad")


def _harness(measurement: Measurement) -> Sequence[str]:
    costs = [process.cpu_per_call_us for process in measurement.harness if process.cpu_per_call_us is not None]
    return (
        load_name(measurement),
        f"{measurement.max_in_flight:,}",
        number(round(sum(costs) / len(costs), 1)) if costs else "-",
        percent(max((process.core_share for process in measurement.harness), default=0.0)),
        "yes" if all(process.realtime for process in measurement.harness) else "no",
    )


def _lags(measurement: Measurement) -> Sequence[str]:
    if measurement.loop == "closed":
        return ("-",) * 5
    sends = measurement.sends
    lags = (sends.lag_p50_ms, sends.lag_p99_ms, sends.lag_p99_9_ms, sends.lag_max_ms)
    return (percent(sends.late_share), *(f"{lag:.2g}" for lag in lags))
