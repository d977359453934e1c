"""`make dashboard-picture`: puts phases of load on a server, and draws the dashboard's panels of them.

A real Prometheus scrapes the server and evaluates the dashboard's own queries: what Grafana would show of that time.
"""

import argparse
import contextlib
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator
from running_server import serving
from scraping import free_address

from benchmarks.workloads import TEXT_MODEL, Workload, mixed_texts, photographs, sentences
from vecserve_loadtest import ClosedLoop, Load, OpenLoop, Plan, run_apart
from vecserve_loadtest import Workload as Calls

_DASHBOARD = Path(__file__).parents[2] / "docs" / "grafana" / "dashboard.json"
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))

# Shorter than anybody scrapes, so that phases of half a minute show. Grafana takes four intervals for a rate.
_SCRAPE_SECONDS, _RATE = 1, "5s"

# What the variables of the dashboard stand for where nothing is chosen.
_VARIABLES = {"$__rate_interval": _RATE, "$job": ".*", "$instance": ".*", "$model": ".*"}

_COLUMNS = 24  # of Grafana's grid
_UNITS: dict[str, Callable[[float], str]] = {
    "s": lambda value: f"{value * 1e3:g} ms" if value < 1 else f"{value:g} s",
    "percentunit": lambda value: f"{value * 100:g} %",
    "bytes": lambda value: f"{value / 2**20:.0f} MiB",
    "reqps": lambda value: f"{value:g}/s",
    "short": lambda value: f"{value:g}",
}


@dataclass(frozen=True)
class Phase:
    """Loads that are put on the server together, and what they are called in the picture."""

    name: str
    loads: tuple[Load, ...]


@dataclass(frozen=True)
class Line:
    """One series of a panel."""

    label: str
    times: list[float]
    values: list[float]


@dataclass(frozen=True)
class Prometheus:
    """A Prometheus that scrapes the server."""

    url: str

    def ask(self, path: str, **parameters: object) -> Any:
        """The data of an answer; a query that is not understood raises."""
        with _DIRECT.open(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}") as answer:
            return json.load(answer)["data"]

    def lines(self, expression: str, legend: str, begin: float, end: float) -> list[Line]:
        """What a query comes to over a time, with labels for the legend as Grafana makes them."""
        data = self.ask("query_range", query=expression, start=begin, end=end, step=_SCRAPE_SECONDS)
        return [_line(series, legend) for series in data["result"]]


def main() -> int:
    arguments = _parse()
    metrics_address = free_address()
    flags = ["--metrics-address", metrics_address, "--max-queue-seconds", "2", *arguments.flags]
    with serving(arguments.models, *flags) as server, _scraping(arguments.prometheus, metrics_address) as prometheus:
        capacity = _capacity(server.address)
        print(f"{capacity:.0f} sentences a second, one a call", file=sys.stderr)
        begins = [(phase.name, _put(phase, server.address, arguments.seconds)) for phase in _phases(capacity)]
        time.sleep(3 * _SCRAPE_SECONDS)
        figure = _draw(json.loads(_DASHBOARD.read_text()), prometheus, begins, time.time())
    figure.savefig(arguments.out, dpi=80)
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make dashboard-picture", description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"), help="directory of artifacts")
    parser.add_argument("--seconds", type=float, default=25.0, help="length of each phase")
    parser.add_argument("--out", type=Path, default=Path("docs/observability-dashboard.png"), help="the picture")
    parser.add_argument("--prometheus", default=shutil.which("prometheus"), help="its program (Debian: prometheus)")
    parser.add_argument("flags", nargs="*", help="flags for the server, after --")
    arguments = parser.parse_args()
    if not arguments.prometheus:
        parser.error("there is no prometheus on the PATH: install it (Debian: prometheus), or name it by --prometheus")
    return arguments


@contextlib.contextmanager
def _scraping(program: str, target: str) -> Generator[Prometheus]:
    address = free_address()
    with tempfile.TemporaryDirectory() as folder:
        config = {
            "global": {"scrape_interval": f"{_SCRAPE_SECONDS}s"},
            "scrape_configs": [{"job_name": "vecserve", "static_configs": [{"targets": [target]}]}],
        }
        file = Path(folder) / "prometheus.yml"
        file.write_text(json.dumps(config))  # which is YAML, too
        command = [program, f"--config.file={file}", f"--storage.tsdb.path={folder}", f"--web.listen-address={address}"]
        process = subprocess.Popen([*command, "--log.level=error"])
        try:
            prometheus = Prometheus(f"http://{address}")
            _wait_for(prometheus)
            yield prometheus
        finally:
            process.terminate()
            process.wait()


def _wait_for(prometheus: Prometheus) -> None:
    for _ in range(300):
        with contextlib.suppress(OSError, KeyError, IndexError):
            if prometheus.ask("query", query="vecserve_serving == 1")["result"]:
                return
        time.sleep(0.1)
    raise TimeoutError("Prometheus has scraped nothing in 30 s")


def _capacity(address: str) -> float:
    load = Load("a", _calls(sentences()), ClosedLoop(32), connections=4)
    return run_apart(Plan(address, (load,), duration=5, warmup=1)).load("a").throughput


def _phases(capacity: float) -> Sequence[Phase]:
    """From a quiet server to one that has twice what it can do, and back."""
    texts, images = _calls(mixed_texts(TEXT_MODEL)), _calls(photographs())
    bulk = Calls(f"{texts.method}", mixed_texts(TEXT_MODEL, per_call=8).messages, (("x-vecserve-priority", "bulk"),))
    hasty = Calls(texts.method, _calls(sentences()).messages, deadline=0.1)

    def calls(rate: float) -> Load:
        return Load("texts", texts, OpenLoop(rate * capacity), connections=4)

    return (
        Phase("quiet", (calls(0.1),)),
        Phase("with images", (calls(0.1), Load("images", images, OpenLoop(4)))),
        Phase("with bulk", (calls(0.1), Load("bulk", bulk, ClosedLoop(3)))),
        Phase("overload", (calls(2.0), Load("hasty", hasty, OpenLoop(0.2 * capacity)))),
        Phase("after it", (calls(0.1),)),
    )


def _calls(workload: Workload) -> Calls:
    return Calls(workload.method, workload.messages)


def _put(phase: Phase, address: str, seconds: float) -> float:
    """Returns when the phase began, in seconds since 1970."""
    print(phase.name, file=sys.stderr)
    begin = time.time()
    result = run_apart(Plan(address, phase.loads, duration=seconds, drain=2))
    for load in result.loads:
        print(f"  {load.name}: {load.statuses}", file=sys.stderr)
    return begin


def _draw(dashboard: Any, prometheus: Prometheus, phases: Sequence[tuple[str, float]], end: float) -> Figure:
    panels = [panel for panel in dashboard["panels"] if panel["type"] in ("timeseries", "stat")]
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    mpl.rcParams.update({"font.size": 8, "axes.titlesize": 9})
    figure = Figure(figsize=(20, rows * 0.42), layout="constrained")
    grid = figure.add_gridspec(rows, _COLUMNS)
    begin = phases[0][1]
    for panel in panels:
        place = panel["gridPos"]
        cell = grid[place["y"] : place["y"] + place["h"], place["x"] : place["x"] + place["w"]]
        lines = [line for target in panel["targets"] for line in _evaluated(prometheus, target, begin, end)]
        unit = _UNITS[panel["fieldConfig"]["defaults"]["unit"]]
        axes = figure.add_subplot(cell)
        axes.set_title(panel["title"], loc="left", fontweight="bold")
        if panel["type"] == "stat":
            _draw_stat(axes, lines, unit)
        else:
            _draw_lines(axes, lines, panel["fieldConfig"]["defaults"], begin)
            _draw_phases(axes, [(name, at - begin) for name, at in phases], end - begin)
    return figure


def _evaluated(prometheus: Prometheus, target: Any, begin: float, end: float) -> list[Line]:
    expression = target["expr"]
    for name, value in _VARIABLES.items():
        expression = expression.replace(name, value)
    return prometheus.lines(expression, target["legendFormat"], begin, end)


def _line(series: Any, legend: str) -> Line:
    label = legend
    for name, value in series["metric"].items():
        label = label.replace(f"{{{{{name}}}}}", value)
    points = [(float(at), float(value)) for at, value in series["values"]]
    return Line(label.rpartition("/")[2], [at for at, _ in points], [value for _, value in points])


def _draw_stat(axes: Axes, lines: list[Line], unit: Callable[[float], str]) -> None:
    """Its last value, as Grafana shows it, over its course."""
    axes.set_axis_off()
    if not lines or not lines[0].values:
        axes.text(0.5, 0.5, "no data", ha="center", va="center", transform=axes.transAxes)
        return
    axes.fill_between(lines[0].times, lines[0].values, color="#3a86ff", alpha=0.15)
    known = [value for value in lines[0].values if math.isfinite(value)]
    value = unit(float(f"{known[-1]:.3g}")) if known else "no data"
    axes.text(0.5, 0.5, value, ha="center", va="center", fontsize=18, color="#1b7837", transform=axes.transAxes)


def _draw_lines(axes: Axes, lines: list[Line], defaults: Any, begin: float) -> None:
    if defaults["custom"]["stacking"]["mode"] == "normal":
        _stack(axes, lines, begin)
    else:
        for line in lines:
            axes.plot([at - begin for at in line.times], line.values, label=line.label, linewidth=1.2)
    axes.set_ylim(bottom=0, top=defaults.get("max"))
    if defaults["unit"] == "bytes":
        axes.yaxis.set_major_locator(MultipleLocator(128 * 2**20))
    axes.yaxis.set_major_formatter(_ticks(_UNITS[defaults["unit"]]))
    if lines:
        axes.legend(fontsize=6, loc="upper right", framealpha=0.7)


def _draw_phases(axes: Axes, phases: Sequence[tuple[str, float]], end: float) -> None:
    for name, at in phases:
        axes.axvline(at, color="grey", linewidth=0.5, linestyle=":")
        axes.text(at, 0.99, f" {name}", fontsize=6, color="grey", va="top", transform=axes.get_xaxis_transform())
    axes.set_xlim(0, end)
    axes.xaxis.set_major_formatter(_ticks(lambda seconds: f"{seconds:g} s"))


def _ticks(shown: Callable[[float], str]) -> FuncFormatter:
    def tick(value: float, _: float | None) -> str:
        return shown(float(f"{value:.3g}"))

    return FuncFormatter(tick)


def _stack(axes: Axes, lines: list[Line], begin: float) -> None:
    """Of series that begin late, what is not there yet counts as 0."""
    times = sorted({at for line in lines for at in line.times})
    known = [dict(zip(line.times, line.values, strict=True)) for line in lines]
    heights = [[value if math.isfinite(value := each.get(at, 0.0)) else 0.0 for at in times] for each in known]
    if times:
        axes.stackplot([at - begin for at in times], heights, labels=[line.label for line in lines], alpha=0.7)


if __name__ == "__main__":
    sys.exit(main())
