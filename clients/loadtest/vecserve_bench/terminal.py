"""Results as text in the terminal. Needs rich."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vecserve_bench.comparison import Comparison, Row, compare, pair_name
from vecserve_bench.figures import number, percent
from vecserve_bench.objective import Objective
from vecserve_bench.record import Measurement, Percentiles, Record, Search, SearchStep, load_name
from vecserve_bench.warning import few_calls, notable

_WIDTHS = (17, 9, 9, 9, 9, 9, 9, 8)
_HEADS = ("load", "OK/s", "p50, ms", "p90", "p99", "p99.9", "max", "errors")
_PERCENTILES = ("p50", "p90", "p95", "p99", "p99.9", "max")


class Terminal:
    """Prints to stdout.

    Args:
        quiet: Whether to print nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(highlight=False, soft_wrap=True, quiet=quiet)
        self._listed = False

    def heading(self, record: Record) -> None:
        """Print whom a run calls, and with what."""
        server = record.server
        told = " ".join(each for each in (server.precision, server.execution_provider, server.platform) if each)
        version = f" version {server.version}" if server.version else ""
        self._print(f"{server.address}  {server.model}{version}{f' ({told})' if told else ''}")
        self._print(f"{record.work}; {_window(record)}", "dim")
        for note in record.notes:
            self._print(f"note: {note}")
        self._print("")

    def step(self, measurement: Measurement, step: SearchStep | None = None) -> None:
        """Print one line for a measurement among several, the first under their headings."""
        if not self._listed:
            self._print(_aligned(_HEADS), "bold")
        self._listed = True
        self._console.print(Text(_aligned(_step_cells(measurement)) + "  "), _verdict(step), sep="")

    def results(self, record: Record) -> None:
        """Print what was measured; of several measurements only those which `step` has not."""
        if len(record.measurements) == 1 and not record.search:
            self._detail(record.measurements[0])
        elif not self._listed:
            steps = {step.measurement: step for step in record.search.steps} if record.search else {}
            for index, measurement in enumerate(record.measurements):
                self.step(measurement, steps.get(index))
        for warning in notable(record):
            self._print(f"! {warning}", "yellow")
        if record.search:
            self._search(record.search)

    def comparison(self, before: Record, after: Record) -> None:
        """Print two records side by side."""
        compared = compare(before, after)
        self._print("")
        self._print(f"before: {before.title} ({before.created})")
        self._print(f"after:  {after.title} ({after.created})")
        for table in _comparison_tables(compared):
            self._print("")
            self._console.print(table)
        if not compared.pairs and not compared.max_rate:
            self._print("The two have no load in common.")

    def _detail(self, measurement: Measurement) -> None:
        for name, value in _lines(measurement):
            self._console.print(Text(f"{name:<14}", "dim"), _plain(value), sep="")
        if note := few_calls(measurement):
            self._print(note, "dim")

    def _search(self, search: Search) -> None:
        met = Objective.parse(search.objective).words
        self._print("")
        if search.max_rate_per_s is None:
            self._print(f"No rate met {met}.", "bold")
        else:
            self._print(f"Highest rate with {met}: {number(search.max_rate_per_s)} calls/s", "bold")
        if search.limited_by == "harness":
            self._print("Above it the harness was the limit, not the server: give it more --processes.", "yellow")
        if search.limited_by == "nothing":
            self._print("No higher rate was tried: it is four times the capacity of the closed loop.", "yellow")

    def _print(self, text: str, style: str = "") -> None:
        self._console.print(_plain(text), style=style)


def _window(record: Record) -> str:
    settings = record.settings
    length = f"{settings['calls']} calls" if settings.get("calls") else f"{settings['duration_s']:g} s"
    parts = [f"{length} after {settings['warmup_s']:g} s of warm-up"]
    parts += [f"{settings[name]} {name}" for name in ("connections", "processes") if settings[name] > 1]
    return ", ".join(parts)


def _lines(measurement: Measurement) -> Iterator[tuple[str, str]]:
    yield "load", load_name(measurement)
    yield "throughput", _throughput(measurement)
    yield "calls", "  ".join(f"{name} {count:,}" for name, count in measurement.statuses.items()) or "none"
    for name, message in measurement.failures.items():
        if name in measurement.statuses:
            yield "", f"{name}: {message}"
    if ok := measurement.latency_ms.get("OK"):
        yield "latency, ms", _percentiles(ok)
    if server := measurement.server:
        stages = "  ".join(f"{name} {number(value)}" for name, value in server.stages_ms.items())
        yield "server, ms", f"{stages}  rest {number(server.rest_ms)}  (means of {server.samples:,} calls)"
    if measurement.loop == "open":
        yield "sent late", _sends(measurement)
    yield "harness", _harness(measurement)
    if vectors := measurement.vectors:
        yield "vectors", f"{vectors.responses - vectors.bad:,} of {vectors.responses:,} responses sound"


def _throughput(measurement: Measurement) -> str:
    reached = f"{number(measurement.throughput_per_s)} calls/s OK"
    if measurement.offered_per_s:
        reached += f" of {number(measurement.offered_per_s)} offered"
    if measurement.inputs_per_s != measurement.throughput_per_s:
        reached += f", {number(measurement.inputs_per_s)} inputs/s"
    return reached


def _percentiles(found: Percentiles) -> str:
    names = ("mean", *_PERCENTILES)
    return "  ".join(f"{name} {number(getattr(found, name.replace('.', '_')))}" for name in names)


def _sends(measurement: Measurement) -> str:
    sends = measurement.sends
    lags = f"p99 {sends.lag_p99_ms:.2g}, p99.9 {sends.lag_p99_9_ms:.2g}, max {sends.lag_max_ms:.2g} ms"
    return f"{sends.late:,} ({percent(sends.late_share)}) by more than {sends.late_after_ms:g} ms; lag {lags}"


def _harness(measurement: Measurement) -> str:
    costs = [process.cpu_per_call_us for process in measurement.harness if process.cpu_per_call_us is not None]
    cost = f"{sum(costs) / len(costs):.0f} µs of CPU time a call, " if costs else ""
    shares = ", ".join(percent(process.core_share) for process in measurement.harness)
    count = len(measurement.harness)
    several = f" in {count} processes" if count > 1 else ""
    realtime = ", real-time priority" if all(process.realtime for process in measurement.harness) else ""
    return f"{cost}{shares} of a core{several}{realtime}"


def _aligned(cells: Sequence[str]) -> str:
    first, *others = cells
    return f"{first:<{_WIDTHS[0]}}" + "".join(
        f"{cell:>{width}}" for cell, width in zip(others, _WIDTHS[1:], strict=True)
    )


def _step_cells(measurement: Measurement) -> Sequence[str]:
    ok = measurement.latency_ms.get("OK")
    latencies = [number(getattr(ok, name)) if ok else "-" for name in ("p50", "p90", "p99", "p99_9", "max")]
    return [
        load_name(measurement),
        number(measurement.throughput_per_s),
        *latencies,
        percent(measurement.error_share),
    ]


def _verdict(step: SearchStep | None) -> Text:
    if step is None:
        return Text("")
    if step.holds is None:
        return Text("capacity", "dim")
    if step.holds:
        return Text(f"{step.purpose}: met", "green")
    return Text(f"{step.purpose}: {'; '.join(step.reasons)}", "red")


def _comparison_tables(compared: Comparison) -> Iterator[Table]:
    for pair in compared.pairs:
        yield _rows_table(pair_name(pair), pair.rows)
    if compared.max_rate:
        yield _rows_table("search", [compared.max_rate])
    if compared.differences:
        table = _table("what else differs", "before", "after")
        for difference in compared.differences:
            table.add_row(*map(_plain, (difference.name, difference.before, difference.after)))
        yield table


def _rows_table(title: str, rows: Sequence[Row]) -> Table:
    table = _table(title)
    for name in ("before", "after", "ratio"):
        table.add_column(name, justify="right", min_width=8)
    for row in rows:
        figures = ["-" if value is None else number(value) for value in (row.before, row.after)]
        table.add_row(f"{row.name}, {row.unit}", *figures, _ratio(row))
    return table


def _ratio(row: Row) -> Text:
    style = "" if row.improved is None else "green" if row.improved else "red"
    return Text("-" if row.ratio is None else f"{row.ratio:.2f}", style)


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for column in columns:
        table.add_column(column)
    return table


def _plain(text: str) -> Text:
    """Return text that is shown as it is: no markup, and no control characters to steer the terminal."""
    return Text("".join(character if character.isprintable() or character == "\n" else "�" for character in text))
