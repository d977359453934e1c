"""Replaces two servers one after the other, while clients call both."""

import contextlib
import socket
import threading
import time
from pathlib import Path

from running_server import RunningServer, serving

from vecserve import Client, VecserveError

_BETWEEN_SECONDS = 1.0


class Caller:
    """A program that calls with the Python client until it is stopped."""

    def __init__(self, address: str) -> None:
        self.answered = 0
        self.failures: list[VecserveError] = []
        self._address = address
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._call)

    def __enter__(self) -> "Caller":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _call(self) -> None:
        with Client(self._address) as client:
            while not self._stop.is_set():
                try:
                    client.embed_text(["a cat on a mat"])
                    self.answered += 1
                except VecserveError as error:
                    self.failures.append(error)


def replace_two(models: Path, callers: int = 8) -> list[Caller]:
    """What each caller saw while both servers were replaced by others on their ports."""
    addresses = [f"127.0.0.1:{port}" for port in _free_ports(2)]
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(_server(models, address)) for address in addresses]
        calling = [stack.enter_context(Caller("ipv4:" + ",".join(addresses))) for _ in range(callers)]
        for old, address in zip(servers, addresses, strict=True):
            time.sleep(_BETWEEN_SECONDS)
            assert old.stop() == 0
            stack.enter_context(_server(models, address))
        time.sleep(_BETWEEN_SECONDS)
        for caller in calling:
            caller.__exit__()
        return calling


def _server(models: Path, address: str) -> contextlib.AbstractContextManager[RunningServer]:
    return serving(models, "--address", address)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]
