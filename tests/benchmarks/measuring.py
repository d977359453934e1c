"""One server under load beside one process that shows the limit."""

import re
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from benchmarks.inprocess import InProcess
from benchmarks.workloads import Workload
from vecserve_loadtest import ClosedLoop, Load, LoadResult, OpenLoop, Plan, RunResult, Status, run_apart
from vecserve_loadtest import Workload as Calls
from vecserve_server.engine.priority import Priority

_WARMUP = 1.0
# Of an overload, thousands of calls a second fall due: to wake up for each would take cores that the server has where
# the load comes from elsewhere. Seconds between two rounds of sending and reading, and after which a call is sent late.
_INTERVAL, _LATE_AFTER = 0.004, 0.005
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_Measured = TypeVar("_Measured")
_SAMPLE = re.compile(r"^vecserve_(\w+?)_total\{(.*)\} (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Figure:
    """One number that a scenario measured in one round."""

    name: str
    value: float
    unit: str = ""
    goal: str = ""


@dataclass(frozen=True)
class Bench:
    """What scenarios measure with."""

    address: str
    metrics_address: str
    inprocess: InProcess
    threads: int
    """Instances of the server; threads of the process that shows the limit."""
    seconds: float
    text_model: str

    @property
    def unary_goal(self) -> str:
        """What is asked of single short texts, 64 in flight: beside a faster model, the rest of a call weighs more."""
        return "≥ 0.80" if "int8" in self.text_model else "≥ 0.90"

    def beside(self, limit: Callable[[], float], measure: Callable[[], _Measured]) -> tuple[float, _Measured]:
        """Measures between two halves of the limit, and returns their mean first.

        So what a machine gains or loses steadily does not count.
        """
        before = limit()
        measured = measure()
        return (before + limit()) / 2, measured

    def closed(self, workload: Workload, in_flight: int, seconds: float | None = None) -> RunResult:
        """Keeps `in_flight` calls on their way."""
        return self._run(Load("closed", _calls(workload), ClosedLoop(in_flight)), seconds=seconds)

    def overload(self, workload: Workload, rate: float, deadline: float) -> RunResult:
        """Sends `rate` calls per second, more than the server can answer, at random times."""
        load = Load("open", _calls(workload, deadline=deadline), OpenLoop(rate, late_after=_LATE_AFTER))
        plan = Plan(self.address, (load,), self.seconds, _WARMUP, poll_interval=_INTERVAL, send_interval=_INTERVAL)
        return run_apart(plan)

    def interactive(
        self, workload: Workload, rate: float, bulk: Workload | None = None, in_flight: int = 0
    ) -> LoadResult:
        """Sends interactive calls at random times, beside bulk calls that saturate the server if there are any."""
        loads = [Load("interactive", _calls(workload), OpenLoop(rate))]
        if bulk:
            loads.append(Load("bulk", _calls(bulk, Priority.BULK), ClosedLoop(in_flight)))
        return self._run(*loads, seconds=2 * self.seconds).load("interactive")

    def count(self, name: str, model: str) -> float:
        """A metric of the server, summed over its other labels."""
        with _DIRECT.open(f"http://{self.metrics_address}/metrics") as answer:
            text = answer.read().decode()
        return sum(value for metric, labels, value in _samples(text) if metric == name and f'model="{model}"' in labels)

    def _run(self, *loads: Load, seconds: float | None = None) -> RunResult:
        return run_apart(Plan(self.address, loads, seconds or self.seconds, _WARMUP))


def units_per_second(workload: Workload, load: LoadResult) -> float:
    """Units of the measured calls that were answered OK: which ended, or of an open loop were due, in the window."""
    done = load.calls.message[load.calls.status == Status.OK]
    return float(np.array(workload.units_per_call)[done].sum()) / load.duration


def _calls(workload: Workload, priority: Priority = Priority.INTERACTIVE, deadline: float | None = None) -> Calls:
    metadata = (("x-vecserve-priority", priority.value),) if priority is Priority.BULK else ()
    return Calls(workload.method, workload.messages, metadata, deadline)


def _samples(text: str) -> Iterator[tuple[str, str, float]]:
    for metric, labels, value in _SAMPLE.findall(text):
        yield metric, labels, float(value)
