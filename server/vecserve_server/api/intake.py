"""How much of callers' may be in the server at once: calls, and bytes of their requests."""

import asyncio

from vecserve_server.engine.errors import EngineError, OverloadedError
from vecserve_wire.details import Details

# Whoever asks whether the server lives is answered however much it has to do.
_HEALTH = "/grpc.health.v1.Health/"

# Unlike the queue's, what ends here can't be predicted.
_RETRY_SECONDS = 1.0


def is_exempt(method: str) -> bool:
    """Whether calls of a method, by its path, are taken without counting them."""
    return method.startswith(_HEALTH)


class Intake:
    """Counts what calls hold, so that memory is bounded whatever callers send.

    A call's bytes are known once they are read, and held as a request, beside the bytes, until it is answered.
    """

    def __init__(self, max_calls: int, max_bytes: int) -> None:
        self._max_calls = max_calls
        self._max_bytes = max_bytes
        self._room = asyncio.Event()
        self._room.set()
        self.calls = 0
        """Calls that have begun and not ended, streams included."""
        self.held_bytes = 0
        """Bytes of requests that are not answered."""

    def admit(self, details: Details) -> EngineError | None:
        """Counts a call until it has ended; or says why it is refused."""
        if is_exempt(details.method):
            return None
        if self.calls >= self._max_calls:
            message = f"the server has {self.calls} calls under way, and takes at most {self._max_calls} at once"
            return OverloadedError(message, _RETRY_SECONDS)
        self.calls += 1
        details.on_end.append(self._ended)
        return None

    def hold(self, size: int) -> None:
        """Counts a request of `size` bytes, until `release`. One alone is taken, however large it is.

        Raises:
            OverloadedError: there is no room for it now.
        """
        if self.held_bytes and self.held_bytes + size > self._max_bytes:
            raise OverloadedError(
                f"the request has {size} bytes, and the server holds {self.held_bytes} of others, and at most "
                f"{self._max_bytes} at once",
                _RETRY_SECONDS,
            )
        self.stretch(size)

    def stretch(self, size: int) -> None:
        """Counts a request until `release`, whether or not there is room: a stream's, see `room`."""
        self.held_bytes += size
        if self.held_bytes >= self._max_bytes:
            self._room.clear()

    def release(self, size: int) -> None:
        """Counts a request of `size` bytes no more."""
        self.held_bytes -= size
        if self.held_bytes < self._max_bytes:
            self._room.set()

    async def room(self) -> None:
        """Waits until there is some, before a stream's next request is read."""
        await self._room.wait()

    def _ended(self, _: object) -> None:
        self.calls -= 1
