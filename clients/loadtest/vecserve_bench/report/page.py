"""The page: what to know first at the top, where it comes from at the end. Pure."""

from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from typing import cast

from vecserve_bench.figures import number, percent
from vecserve_bench.objective import Objective
from vecserve_bench.record import Measurement, Record, Search, load_name
from vecserve_bench.report import plots, tables
from vecserve_bench.report.compared import compared
from vecserve_bench.report.markup import cards, facts, moment, paragraph, section, warnings
from vecserve_bench.report.stages import stage_bars
from vecserve_bench.report.svg import Plot
from vecserve_bench.warning import few_calls, notable


def report(record: Record, before: Record | None = None) -> str:
    """Return a record as an HTML page.

    Args:
        record: What to show.
        before: An earlier record to show beside it.
    """
    style = files("vecserve_bench.report").joinpath("style.css").read_text("utf-8")
    title = escape(record.title)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{style}</style></head><body>"
        f"<h1>{title}</h1>{''.join(_body(record, before))}</body></html>\n"
    )


def _body(record: Record, before: Record | None) -> Iterator[str]:
    yield paragraph(_subtitle(record), "dim")
    yield cards(_headline(record))
    yield warnings([*record.notes, *notable(record)])
    if before:
        yield compared(before, record)
    if record.search:
        yield _search(record, record.search)
    elif len(record.measurements) > 1:
        yield _sweep(record, before)
    elif record.measurements:
        yield from _single(record.measurements[0], before)
    yield _setup(record)


def _subtitle(record: Record) -> str:
    server = record.server
    model = " ".join(each for each in (server.model, f"version {server.version}" if server.version else "") if each)
    told = ", ".join(each for each in (server.precision, server.execution_provider, server.platform) if each)
    return f"{model}{f' ({told})' if told else ''} · {record.work} · {moment(record.created)}"


def _headline(record: Record) -> list[tuple[str, str]]:
    if record.search:
        rate = record.search.max_rate_per_s
        met = Objective.parse(record.search.objective).words
        capacity = record.measurements[0].throughput_per_s if record.measurements else 0.0
        return [
            (f"calls/s with {met}", "none" if rate is None else number(rate)),
            ("calls/s at capacity, closed loop", number(capacity)),
            ("trials", str(max(0, len(record.search.steps) - 1))),
        ]
    if len(record.measurements) != 1:
        most = max((each.throughput_per_s for each in record.measurements), default=0.0)
        return [("most OK calls/s", number(most)), ("loads measured", str(len(record.measurements)))]
    return list(_figures(record.measurements[0]))


def _figures(measurement: Measurement) -> Iterator[tuple[str, str]]:
    offered = f" of {number(measurement.offered_per_s)} offered" if measurement.offered_per_s else ""
    yield f"OK calls/s{offered}", number(measurement.throughput_per_s)
    if ok := measurement.latency_ms.get("OK"):
        yield "median", f"{number(ok.p50)} ms"
        yield "p99", f"{number(ok.p99)} ms"
        yield "p99.9", f"{number(ok.p99_9)} ms"
    yield "errors", percent(measurement.error_share)


def _few(measurement: Measurement) -> str:
    note = few_calls(measurement)
    return paragraph(f"Note: {note}.", "dim") if note else ""


def _single(measurement: Measurement, before: Record | None) -> Iterator[str]:
    earlier = before.measurements if before and len(before.measurements) == 1 else []
    yield section(
        "Latency", _drawn(plots.distribution([measurement], earlier)), tables.latencies(measurement), _few(measurement)
    )
    yield section(
        "Over time", _drawn(plots.latency_over_time(measurement)), _drawn(plots.throughput_over_time(measurement))
    )
    yield section("Where the time went", stage_bars([measurement]), _split_note([measurement]))
    yield section("Calls", tables.statuses(measurement), tables.sending([measurement]))


def _sweep(record: Record, before: Record | None) -> str:
    measurements = record.measurements
    closed = [each for each in measurements if each.loop == "closed"]
    curve = plots.by_concurrency(record, before) if closed else plots.by_rate(record, before)
    return "".join(
        (
            section(
                "By load", _drawn(curve), _drawn(plots.throughput_by_load(measurements)), tables.loads(measurements)
            ),
            section("Latency by percentile", _drawn(plots.distribution(measurements))),
            section("Where the time went", stage_bars(measurements), _split_note(measurements)),
            section("Each load over time", *map(_over_time, measurements)),
            section("Load generator", tables.sending(measurements)),
        )
    )


def _search(record: Record, search: Search) -> str:
    steps = [(step, record.measurements[step.measurement]) for step in search.steps]
    rates = [each for step, each in steps if step.holds is not None]
    final = next(
        (each for step, each in reversed(steps) if step.holds and each.rate_per_s == search.max_rate_per_s), None
    )
    return "".join(
        (
            section(
                "Search", _drawn(plots.trials(record, search)), tables.trials(steps), paragraph(_limit(search), "dim")
            ),
            section("Latency by percentile at the rate found", _drawn(plots.distribution([final]) if final else None)),
            section("Where the time went", stage_bars([final] if final else []), _split_note([final] if final else [])),
            section("Each trial over time", *map(_over_time, rates)),
            section("Load generator", tables.sending(record.measurements)),
        )
    )


def _limit(search: Search) -> str:
    if search.max_rate_per_s is None:
        return "No rate met the objective."
    match search.limited_by:
        case "server":
            return "Above it, the server missed the objective."
        case "harness":
            return "Above it, the harness could not keep to the rate: the server may hold more. Give it more processes."
        case "nothing":
            return "No higher rate was tried: the search ends at four times the capacity of the closed loop."


def _over_time(measurement: Measurement) -> str:
    drawn = _drawn(plots.latency_over_time(measurement)) + _drawn(plots.throughput_over_time(measurement))
    return (
        f"<details><summary>{escape(load_name(measurement))}</summary>{drawn}{tables.statuses(measurement)}</details>"
    )


def _split_note(measurements: Sequence[Measurement]) -> str:
    samples = sum(each.server.samples for each in measurements if each.server)
    if not samples:
        return ""
    note = (
        f"Means from the server-timing trailers of {samples:,} OK calls, one in four. "
        "The rest is gRPC, the network, and the wait to be sent."
    )
    return paragraph(note, "dim")


def _setup(record: Record) -> str:
    server, client = record.server, record.client
    settings = ((name.replace("_", " "), _shown(value)) for name, value in record.settings.items())
    return section(
        "Setup",
        f"<pre>{escape(record.command)}</pre>",
        facts(
            (
                ("server", f"{server.address}, {'Open Inference Protocol' if server.api == 'oip' else 'vecserve.v1'}"),
                ("model", " ".join(each for each in (server.model, server.version) if each)),
                ("digest", server.digest),
                ("precision", server.precision),
                ("provider", server.execution_provider or server.platform),
                ("dimensions", str(server.dimensionality or "")),
                ("content", record.work),
                (
                    "request",
                    f"{number(record.bytes_per_call)} bytes and {number(record.inputs_per_call)} inputs on average",
                ),
                ("load from", f"{client.cores} cores of {client.processor}, {client.platform}"),
                ("harness", f"vecserve {client.vecserve}, Python {client.python}"),
            )
        ),
        f"<details><summary>All settings</summary>{facts(settings)}</details>",
    )


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, cast("list[object]", value)))
    return "" if value is None else str(value)


def _drawn(plot: Plot | None) -> str:
    return plot.svg() if plot else ""
