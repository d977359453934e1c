"""`vecserve serve` in a process of its own."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import grpc

_READY = re.compile(r"ready on (\S+) ")
_OPTIONS = [("grpc.max_receive_message_length", 64 * 2**20), ("grpc.max_send_message_length", 64 * 2**20)]


@dataclass
class RunningServer:
    """A `vecserve serve` process, and what it has logged."""

    process: subprocess.Popen[str]
    address: str = ""
    log: list[str] = field(default_factory=list[str])
    ready: threading.Event = field(default_factory=threading.Event)

    def read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if found := _READY.search(line):
                self.address = found.group(1)
                self.ready.set()
        self.ready.set()

    def channel(self) -> grpc.Channel:
        return grpc.insecure_channel(self.address, options=_OPTIONS)

    def stop(self) -> int:
        """Sends SIGTERM and returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


@contextlib.contextmanager
def serving(models: Path, *flags: str, environment: dict[str, str] | None = None) -> Generator[RunningServer]:
    """Runs a server on a free port until the block ends."""
    command = [sys.executable, "-m", "vecserve", "serve", "--models", str(models), "--address", "127.0.0.1:0", *flags]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | (environment or {}))
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
