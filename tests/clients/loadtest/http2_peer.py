"""The server's end of HTTP/2 connections, as a test scripts it: for what no gRPC server does on demand."""

import contextlib
import socket
import threading
from collections.abc import Callable, Generator

from vecserve_wire import frames
from vecserve_wire.frames import Frame, FrameReader

OK_TRAILERS = b"\x88\x40\x0bgrpc-status\x010"


class Peer:
    """One connection that a client has opened."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._reader = FrameReader(frames.MAX_WINDOW)
        self._frames: list[Frame] = []
        self._preface = len(frames.PREFACE)

    def send(self, *parts: bytes) -> None:
        self._connection.sendall(b"".join(parts))

    def greet(self, settings: dict[int, int] | None = None) -> None:
        self.send(frames.settings(settings or {}))

    def requests(self, count: int) -> list[int]:
        """Waits for so many requests without body beyond one frame, and returns their streams."""
        return [self._next_request() for _ in range(count)]

    def answer(self, stream_id: int, message: bytes = b"") -> None:
        body = b"\0" + len(message).to_bytes(4, "big") + message
        self.send(
            frames.frame(frames.DATA, 0, stream_id, body),
            frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream_id, OK_TRAILERS),
        )

    def answer_all(self) -> None:
        """Answers requests until the client is gone."""
        while True:
            self.answer(self._next_request())

    def _next_request(self) -> int:
        while True:
            kind, flags, stream_id, _ = self._next_frame()
            if kind == frames.DATA and flags & frames.END_STREAM:
                return stream_id

    def _next_frame(self) -> Frame:
        while not self._frames:
            data = self._connection.recv(2**16)
            if not data:
                raise ConnectionResetError
            skipped = min(self._preface, len(data))
            self._preface -= skipped
            self._frames += self._reader.feed(data[skipped:])
        return self._frames.pop(0)


@contextlib.contextmanager
def scripted(*scripts: Callable[[Peer], None]) -> Generator[str, None, None]:
    """Run the n-th script for the n-th connection, and the last for all others; yields the address.

    A connection is closed when its script ends.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads: list[threading.Thread] = []
        accepting = threading.Thread(target=_accept, args=(listener, scripts, threads))
        accepting.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for thread in threads:
                thread.join()


def _accept(
    listener: socket.socket, scripts: tuple[Callable[[Peer], None], ...], threads: list[threading.Thread]
) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        script = scripts[min(len(threads), len(scripts) - 1)]
        threads.append(threading.Thread(target=_serve, args=(connection, script)))
        threads[-1].start()


def _serve(connection: socket.socket, script: Callable[[Peer], None]) -> None:
    with connection, contextlib.suppress(OSError):
        script(Peer(connection))
