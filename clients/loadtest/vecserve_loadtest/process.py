"""A plan carried out by a process of its own, so that whoever measures does not disturb the load, nor it them."""

import contextlib
import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Final

from vecserve_loadtest.observer import read_progress
from vecserve_loadtest.plan import Plan
from vecserve_loadtest.planfile import write_plan
from vecserve_loadtest.progress import Progress
from vecserve_loadtest.result import RunResult
from vecserve_loadtest.resultfile import read_result
from vecserve_loadtest.runner import LoadError

GRACE: Final = 60.0
"""Seconds beyond the plan's own that the process may take: to start, and to write down what it measured."""


def run_apart(plan: Plan) -> RunResult:
    """Carry out a plan in a process of its own, and return what it measured. Nobody hears of it meanwhile.

    Raises:
        LoadError: If the process fails, or takes much longer than the plan says.
    """
    with LoadProcess(plan, watched=False) as process:
        return process.wait()


class LoadProcess:
    """A process that carries out a plan: it connects at once, and ends with the block at the latest.

        with LoadProcess(plan) as process:
            process.begin()
            ...  # watch the server
            result = process.wait()

    Args:
        plan: What it does.
        watched: Whether it waits for `begin`, and reports how it goes, for which it takes a moment of a core each time.
            Otherwise it begins by itself, and there is only its end to `wait` for.
    """

    def __init__(self, plan: Plan, *, watched: bool = True) -> None:
        self._plan = plan
        self._folder = tempfile.TemporaryDirectory(prefix="vecserve-loadtest-")
        folder = Path(self._folder.name)
        self._summary, self._calls, self._errors = folder / "summary.json", folder / "calls.npz", folder / "errors.txt"
        with (folder / "plan").open("wb") as file:
            write_plan(plan, file)
        # -P: a module in the caller's working directory must not stand in for one of Python's.
        command = [sys.executable, "-P", "-m", "vecserve_loadtest", str(folder / "plan")]
        command += ["--observed"] if watched else []
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(  # noqa: S603 - the command is our own
                [*command, "--summary", str(self._summary), "--calls", str(self._calls)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._ready: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._reports: queue.SimpleQueue[list[Progress]] = queue.SimpleQueue()
        self._began = not watched
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process' id, for whoever counts its CPU time."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def await_ready(self) -> None:
        """Wait until every connection of the plan is ready.

        Raises:
            LoadError: If the process fails, or takes much longer than the plan says.
        """
        try:
            ready = self._ready.get(timeout=self._plan.connect_timeout + GRACE)
        except queue.Empty as error:
            raise LoadError(f"the load did not start within {self._plan.connect_timeout + GRACE:g} s") from error
        if not ready:
            self._process.wait()
            raise self._failure()

    def begin(self, moment: float | None = None) -> None:
        """Wait until all is ready, and let the loads begin.

        Args:
            moment: When, on the clock of `time.perf_counter`, which all processes share; None: at once.

        Raises:
            LoadError: If the process fails, or takes much longer than the plan says.
        """
        self._began = True
        if moment is None:
            self.await_ready()
            moment = time.perf_counter()
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # it has failed, and `wait` says why
            self._process.stdin.write(f"{moment}\n")
            self._process.stdin.flush()

    def reports(self) -> list[list[Progress]]:
        """Return what came since this was asked last: of each report, where each load of the plan stood."""
        found: list[list[Progress]] = []
        while not self._reports.empty():
            found.append(self._reports.get())
        return found

    def wait(self) -> RunResult:
        """Begin, unless that was done; wait for the end of the plan, and return what was measured.

        Raises:
            LoadError: If the process fails, or takes much longer than the plan says.
        """
        if not self._began:
            self.begin()
        plan = self._plan
        longest = plan.connect_timeout + plan.warmup + plan.duration + plan.drain + GRACE
        # Until its output ends: to wait for the process itself is to look at it 20 times a second, on a core of the
        # server's.
        self._reader.join(longest)
        try:
            status = self._process.wait(0.0 if self._reader.is_alive() else GRACE)
        except subprocess.TimeoutExpired as error:
            raise LoadError(f"the load did not end within {longest:g} s") from error
        if status:
            raise self._failure()
        return read_result(self._summary, self._calls)

    def close(self) -> None:
        """End the process, if it runs, and remove what it wrote."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                if pipe:
                    pipe.close()
        self._folder.cleanup()

    def __enter__(self) -> "LoadProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            message = json.loads(line)
            if "ready" in message:
                self._ready.put(True)
            else:
                self._reports.put(read_progress(message))
        self._ready.put(False)

    def _failure(self) -> LoadError:
        said = self._errors.read_text(errors="replace").strip()
        return LoadError(
            said.removeprefix("vecserve_loadtest: ") or f"the load ended with exit status {self._process.returncode}"
        )
