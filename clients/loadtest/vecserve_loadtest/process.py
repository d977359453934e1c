"""A plan carried out by a process of its own, so that whoever measures does not disturb the load, nor it them."""

import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final

from vecserve_loadtest.plan import Plan
from vecserve_loadtest.planfile import write_plan
from vecserve_loadtest.result import RunResult
from vecserve_loadtest.resultfile import read_result
from vecserve_loadtest.runner import LoadError

GRACE: Final = 60.0
"""Seconds beyond the plan's own that the process may take: to start, and to write down what it measured."""


def run_apart(plan: Plan) -> RunResult:
    """Carry out a plan in a process of its own, and return what it measured.

    Raises:
        LoadError: If the process fails, or takes much longer than the plan says.
    """
    with LoadProcess(plan) as process:
        return process.wait()


class LoadProcess:
    """A process that carries out a plan: it starts at once, and ends with the block at the latest.

        with LoadProcess(plan) as process:
            ...  # watch the server
            result = process.wait()

    Args:
        plan: What it does.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._folder = tempfile.TemporaryDirectory(prefix="vecserve-loadtest-")
        folder = Path(self._folder.name)
        self._summary, self._calls, self._errors = folder / "summary.json", folder / "calls.npz", folder / "errors.txt"
        with (folder / "plan").open("wb") as file:
            write_plan(plan, file)
        # -P: a module in the caller's working directory must not stand in for one of Python's.
        command = [sys.executable, "-P", "-m", "vecserve_loadtest", str(folder / "plan")]
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(  # noqa: S603 - the command is our own
                [*command, "--summary", str(self._summary), "--calls", str(self._calls)],
                stdin=subprocess.DEVNULL,
                stderr=errors,
            )

    @property
    def pid(self) -> int:
        """The process' id, for whoever counts its CPU time."""
        return self._process.pid

    def wait(self) -> RunResult:
        """Wait for the end of the plan and return what was measured.

        Raises:
            LoadError: If the process fails, or takes much longer than the plan says.
        """
        plan = self._plan
        try:
            status = self._process.wait(plan.connect_timeout + plan.warmup + plan.duration + plan.drain + GRACE)
        except subprocess.TimeoutExpired as error:
            raise LoadError(f"the load did not end within {error.timeout:g} s") from error
        if status:
            said = self._errors.read_text(errors="replace").strip()
            raise LoadError(said.removeprefix("vecserve_loadtest: ") or f"the load ended with exit status {status}")
        return read_result(self._summary, self._calls)

    def close(self) -> None:
        """End the process, if it runs, and remove what it wrote."""
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def __enter__(self) -> "LoadProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
