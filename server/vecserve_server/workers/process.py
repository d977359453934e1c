"""A worker, as its supervisor sees it."""

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import Generator
from multiprocessing.connection import Pipe

from vecserve_server.config import ServerConfig
from vecserve_server.workers.messages import Failed, Order, Report, receive
from vecserve_server.workers.worker import SIGNALS


class StartError(Exception):
    """A worker did not come to serve; the message is the one a single process would end with."""


class WorkerProcess:
    """A worker process, from its start to its end.

    It is a new program with nothing of this process but one socket, through which it gets its settings as they are
    here: a fork after gRPC or ONNX Runtime has started threads deadlocks. `multiprocessing` starts such programs too,
    but with one more process to track resources, and its child shows neither name nor purpose in a process list.
    """

    def __init__(self, config: ServerConfig) -> None:
        """Starts it, on a running event loop.

        Raises:
            OSError: the system has no room for another process.
        """
        self._connection, theirs = Pipe()
        descriptor = theirs.fileno()
        # -P: as for the `vecserve` command, modules in the working directory don't count.
        command = [sys.executable, "-P", "-m", "vecserve_server.workers", str(descriptor)]
        with theirs, _blocked_signals():
            self._process = subprocess.Popen(  # noqa: S603 - nothing in it comes from outside
                command, stdin=subprocess.DEVNULL, pass_fds=[descriptor]
            )
        self._report: asyncio.Future[Report] = asyncio.get_running_loop().create_future()
        self._life = asyncio.create_task(self._follow())
        self._send(config)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def serving(self) -> str:
        """Waits until it serves, and returns its models' names and versions.

        Raises:
            StartError: it can't.
        """
        report = await asyncio.shield(self._report)
        if isinstance(report, Failed):
            raise StartError(report.message)
        return report.models

    async def ended(self) -> int:
        """Waits until it has ended, and returns its exit status, or minus the signal that killed it."""
        return await asyncio.shield(self._life)

    def order(self, order: Order) -> None:
        """Tells it what to do, if it is still there."""
        self._send(order)

    def kill(self) -> None:
        """Ends it at once, whatever it does."""
        self._process.kill()

    def _send(self, message: ServerConfig | Order) -> None:
        # It may have ended, which whoever waits for that learns.
        with contextlib.suppress(OSError):
            self._connection.send(message)

    async def _follow(self) -> int:
        while report := await receive(self._connection):
            self._report.set_result(report)
        self._connection.close()
        status = await asyncio.to_thread(self._process.wait)
        if not self._report.done():
            self._report.set_result(Failed(f"a worker {describe_end(status)} before it served"))
        return status


def describe_end(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"ended with status {status}"
    names = {number.value: number.name for number in signal.Signals}
    return f"was killed by {names.get(-status, f'signal {-status}')}"


@contextlib.contextmanager
def _blocked_signals() -> Generator[None]:
    """A child inherits what is blocked: its interpreter's start is not the time to be interrupted."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
