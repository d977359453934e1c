"""Whether and when a refused request is sent again. Pure: it never waits itself."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from vecserve.errors import UnavailableError, VecserveError


@dataclass(frozen=True)
class RetryPolicy:
    """How a request that was refused with UNAVAILABLE is retried; no other failure is.

    Where the server says when to come back (google.rpc.RetryInfo), that is waited, and a little more so that the
    clients it refused together don't return together. Elsewhere the wait is drawn evenly between nothing and a bound
    that grows exponentially ("full jitter", https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).

    Raises:
        ValueError: On a value out of its range.
    """

    max_attempts: int = 5
    """Times that a request is sent at most. 1 turns retries off."""
    initial_backoff: float = 0.1
    """Bound of the first wait, in seconds."""
    max_backoff: float = 5.0
    """What the bound grows to, in seconds. The server's own delay is waited even where it is longer."""
    multiplier: float = 2.0
    """What the bound is multiplied by after each attempt."""
    jitter: float = 0.1
    """Most that is added to the server's delay, as a share of it."""

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts must be at least 1, not {self.max_attempts}")
        if not 0 <= self.initial_backoff <= self.max_backoff:
            raise ValueError(
                "backoff must satisfy 0 <= initial_backoff <= max_backoff, "
                f"not {self.initial_backoff} and {self.max_backoff}"
            )
        if self.multiplier < 1:
            raise ValueError(f"multiplier must be at least 1, not {self.multiplier}")
        if self.jitter < 0:
            raise ValueError(f"jitter must not be negative, and is {self.jitter}")

    def wait(
        self,
        error: VecserveError,
        attempt: int,
        remaining: float,
        draw: Callable[[], float] = random.random,
    ) -> float | None:
        """Return the seconds to wait before the next attempt, or None when the error is final.

        Args:
            error: How the latest attempt failed.
            attempt: Number of attempts made, at least 1.
            remaining: Seconds before the call's deadline. A wait that would outlast it is not begun.
            draw: Source of numbers evenly spread over [0, 1).
        """
        if error.code is not grpc.StatusCode.UNAVAILABLE or attempt >= self.max_attempts:
            return None
        hint = error.retry_after if isinstance(error, UnavailableError) else None
        wait = hint * (1 + self.jitter * draw()) if hint else self._backoff(attempt) * draw()
        return wait if wait < remaining else None

    def _backoff(self, attempt: int) -> float:
        try:
            grown = self.initial_backoff * self.multiplier ** (attempt - 1)
        except OverflowError:
            return self.max_backoff
        return min(grown, self.max_backoff)
