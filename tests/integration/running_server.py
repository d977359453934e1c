"""`vecserve serve` in a process of its own."""

import contextlib
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import grpc
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc

_READY = re.compile(r"ready on (\S+) ")
_OPTIONS = [("grpc.max_receive_message_length", 64 * 2**20), ("grpc.max_send_message_length", 64 * 2**20)]


@dataclass
class RunningServer:
    """A `vecserve serve` process, and what it has logged."""

    process: subprocess.Popen[str]
    address: str = ""
    log: list[str] = field(default_factory=list[str])
    ready: threading.Event = field(default_factory=threading.Event)
    """Set once the server is ready, or has ended."""
    ended: threading.Event = field(default_factory=threading.Event)
    """Set when all of the log has been read."""

    def read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if found := _READY.search(line):
                self.address = found.group(1)
                self.ready.set()
        self.ready.set()
        self.ended.set()

    def channel(self) -> grpc.Channel:
        return grpc.insecure_channel(self.address, options=_OPTIONS)

    def stop(self) -> int:
        """Sends SIGTERM and returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        assert self.ended.wait(timeout=60)
        return self.process.wait(timeout=60)


@contextlib.contextmanager
def serving(models: Path, *flags: str, python: Path = Path(sys.executable)) -> Generator[RunningServer]:
    """Runs a server until the block ends, with the packages of `python`'s environment.

    It is on a free port, unless the flags say where.
    """
    address = [] if "--address" in flags else ["--address", "127.0.0.1:0"]
    command = [str(python), "-m", "vecserve", "serve", "--models", str(models), *address, *flags]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="backslashreplace")
    server = RunningServer(process)
    reader = threading.Thread(target=server.read_log)
    reader.start()
    try:
        assert server.ready.wait(timeout=120), "the server was not ready in two minutes"
        assert server.address, "".join(server.log)
        yield server
    finally:
        process.kill()
        process.wait()
        reader.join()
        if process.stderr:
            process.stderr.close()


class HealthClient:
    """Calls grpc.health.v1, whose own stubs are untyped."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = cast("Any", health_pb2_grpc.HealthStub(channel))

    def check(self, service: str = "") -> int:
        return self._stub.Check(health_pb2.HealthCheckRequest(service=service)).status

    def watch(self, service: str = "") -> Iterator[int]:
        return (answer.status for answer in self._stub.Watch(health_pb2.HealthCheckRequest(service=service)))


def trailers(call: grpc.RpcError | grpc.Call) -> dict[str, Any]:
    """The trailing metadata of an ended call, by key."""
    return dict(cast("Iterable[tuple[str, Any]]", call.trailing_metadata()))


def rpc_status(error: grpc.RpcError) -> Status:
    """The google.rpc.Status of a failed call, which agrees with its code."""
    status = Status.FromString(trailers(error)["grpc-status-details-bin"])
    assert status.code == error.code().value[0]
    return status
