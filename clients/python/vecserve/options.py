"""The settings that both clients share, and the state that one of their calls and its requests keep."""

import math
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from vecserve.retry import RetryPolicy
from vecserve.security import Tls, Token, check_token_is_private
from vecserve.status import REQUEST_ID, error_from

Metadata = tuple[tuple[str, str], ...]

_RESOLVERS = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "vsock:", "xds:")


@dataclass(frozen=True, slots=True)
class Options:
    """What a client was made with; the fields are `Client`'s arguments.

    Raises:
        ValueError: On an argument out of its range, by its name.
    """

    address: str
    timeout: float
    batch_size: int
    concurrency: int
    retry: RetryPolicy
    tls: Tls | grpc.ChannelCredentials | None
    token: Token | None
    plaintext_token: bool
    metadata: Metadata

    def __post_init__(self) -> None:
        _check_address(self.address)
        _check_timeout(self.timeout)
        for name, value in (("batch_size", self.batch_size), ("concurrency", self.concurrency)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        for key, _ in self.metadata:
            if key != key.lower():
                raise ValueError(f"metadata keys are lower case in gRPC: {key!r} must be {key.lower()!r}")
        if self.token is not None and not self.plaintext_token:
            check_token_is_private(self.address, tls=self.tls is not None)

    def request_metadata(self) -> Metadata:
        """Return what a request is sent with that is made now: the user's metadata, and the token of the moment."""
        if self.token is None:
            return self.metadata
        token = self.token if isinstance(self.token, str) else self.token()
        return (*self.metadata, ("authorization", f"Bearer {token}"))

    def deadline(self, timeout: float | None, clock: Callable[[], float] = time.monotonic) -> "Deadline":
        """Return the deadline of a call that starts now.

        Args:
            timeout: Seconds the call may take, or None for the client's own.
            clock: Source of the time, in seconds.

        Raises:
            ValueError: If the timeout isn't a positive number.
        """
        seconds = self.timeout if timeout is None else timeout
        _check_timeout(seconds)
        return Deadline(seconds, clock() + seconds, clock)


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a call must be over, all its requests and their retries included."""

    timeout: float
    """Seconds that the call had in all."""
    at: float
    """The moment on the clock, in seconds."""
    clock: Callable[[], float]

    def remaining(self) -> float:
        """Return the seconds left, at least 0."""
        return max(0.0, self.at - self.clock())


class Attempts:
    """One request on its way to an answer. It decides, and leaves sending and waiting to the client."""

    def __init__(self, options: Options, deadline: Deadline, offset: int = 0) -> None:
        self._options = options
        self._deadline = deadline
        self._offset = offset
        self._made = 0
        given = [value for key, value in options.metadata if key == REQUEST_ID]
        self._request_id = given[0] if given else uuid.uuid4().hex
        self._identity: Metadata = () if given else ((REQUEST_ID, self._request_id),)

    def timeout(self) -> float:
        """Return the seconds that the next attempt may take."""
        return self._deadline.remaining()

    def metadata(self) -> Metadata:
        """Return what the next attempt is sent with: the user's, the token, and a request id unless there is one."""
        return (*self._options.request_metadata(), *self._identity)

    def wait_after(self, failure: grpc.RpcError) -> float:
        """Return the seconds to wait before the next attempt.

        Raises:
            VecserveError: When there is no next attempt.
        """
        self._made += 1
        error = error_from(
            failure,
            address=self._options.address,
            timeout=self._deadline.timeout,
            request_id=self._request_id,
            offset=self._offset,
        )
        wait = self._options.retry.wait(error, self._made, self._deadline.remaining())
        if wait is None:
            raise error from failure
        return wait


def _check_timeout(timeout: float) -> None:
    if not (timeout > 0 and math.isfinite(timeout)):
        raise ValueError(f"timeout must be a positive number of seconds, not {timeout}")


def _check_address(address: str) -> None:
    # gRPC itself takes "http://host:1" for the name of a resolver, and dials port 443 where none is given.
    if address.startswith(_RESOLVERS):
        return
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdecimal()) or "/" in address:
        raise ValueError(f"address must be HOST:PORT, such as 127.0.0.1:50051, not {address!r}")
