"""Progress in the terminal. Needs rich, and shows nothing where nobody looks."""

import math
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from vecserve_bench.figures import number
from vecserve_bench.live import Glance
from vecserve_bench.settings import AtConcurrency, Step


def step_name(step: Step) -> str:
    """Return what a step is called, e.g. `16 in flight` or `250 calls/s`."""
    return f"{step.concurrency} in flight" if isinstance(step, AtConcurrency) else f"{number(step.rate)} calls/s"


class Display:
    """A line with a bar for the load that runs, on stderr.

    Args:
        live: Whether to show it; False where stderr is no terminal.
    """

    def __init__(self, *, live: bool) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._live = live and self._console.is_terminal

    @property
    def live(self) -> bool:
        """Whether anything is shown."""
        return self._live

    @contextmanager
    def step(self, name: str, warmup: float, duration: float) -> Generator["Line", None, None]:
        """Show a line until the block ends, for a load that takes so many seconds."""
        progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[status]}"),
            console=self._console,
            transient=True,
            refresh_per_second=2,  # as often as there is news: the harness may share its cores with the server
            disable=not self._live,
        )
        with progress:
            task = progress.add_task(name, total=warmup + duration, status="connecting")
            yield Line(progress, task, warmup, duration)


class Line:
    """The line of one load."""

    def __init__(self, progress: Progress, task: TaskID, warmup: float, duration: float) -> None:
        self._progress = progress
        self._task = task
        self._warmup = warmup
        self._duration = duration

    def show(self, glance: Glance) -> None:
        """Show where the load stands."""
        done = self._warmup + min(glance.elapsed, self._duration)
        self._progress.update(self._task, completed=done, status=_status(glance, self._duration))


def _status(glance: Glance, duration: float) -> str:
    parts = [
        _phase(glance.elapsed, duration),
        f"{glance.ok_per_s:,.0f} OK/s",
        f"{glance.in_flight} in flight",
    ]
    if not math.isnan(glance.p50):
        parts.append(f"p50 {1e3 * glance.p50:.3g} ms, p99 {1e3 * glance.p99:.3g} ms")
    if glance.failed:
        parts.append(f"[red]{glance.failed:,} failed[/red]")
    return "  ".join(parts)


def _phase(elapsed: float, duration: float) -> str:
    if elapsed < 0:
        return "warm-up"
    return f"{elapsed:.0f} of {duration:g} s" if elapsed < duration else "waiting for the last answers"
