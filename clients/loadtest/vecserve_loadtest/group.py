"""Several processes that put one load on a server together."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType

from vecserve_loadtest.plan import Plan
from vecserve_loadtest.process import LoadProcess
from vecserve_loadtest.progress import Progress
from vecserve_loadtest.result import RunResult

_LEAD = 0.02  # seconds from the order to begin, in which it must reach every process


class LoadGroup:
    """Processes that carry out their plans at the same time.

    Args:
        plans: One for each process.
    """

    def __init__(self, plans: Sequence[Plan]) -> None:
        self._exits = ExitStack()
        with ExitStack() as starting:
            self._processes = [starting.enter_context(LoadProcess(plan)) for plan in plans]
            self._exits = starting.pop_all()

    @property
    def running(self) -> bool:
        """Whether any of the processes has not ended."""
        return any(process.running for process in self._processes)

    def begin(self) -> None:
        """Wait until all are ready, and let them begin at the same moment.

        Raises:
            LoadError: If one fails.
        """
        for process in self._processes:
            process.await_ready()
        moment = time.perf_counter() + _LEAD
        for process in self._processes:
            process.begin(moment)

    def reports(self) -> list[list[list[Progress]]]:
        """Return what came of each process since this was asked last; see `LoadProcess.reports`."""
        return [process.reports() for process in self._processes]

    def wait(self) -> list[RunResult]:
        """Wait for the end of all plans and return what each process measured.

        Raises:
            LoadError: If one fails, or takes much longer than its plan says.
        """
        return [process.wait() for process in self._processes]

    def __enter__(self) -> "LoadGroup":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._exits.close()
