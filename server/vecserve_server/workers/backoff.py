"""How long to wait before a worker that ended is replaced. Pure: it never waits itself."""

from collections.abc import Callable

_FIRST_SECONDS = 1.0
_LONGEST_SECONDS = 30.0
_STEADY_SECONDS = 60.0


class Backoff:
    """Delays between a worker's end and the start of the one that takes its place.

    The first is 0: one crash shall cost no capacity. Those after it, for workers that end before they have served for
    a minute, are 1, 2, 4 and so on to 30 s, since starting is what costs most. After a minute it begins anew.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._serving_since: float | None = None
        self._delay = 0.0

    def serving(self) -> None:
        """Notes that the worker serves from now on."""
        self._serving_since = self._clock()

    def ended(self) -> float:
        """Notes that the worker ended, and returns the seconds to wait."""
        if self._serving_since is not None and self._clock() - self._serving_since >= _STEADY_SECONDS:
            self._delay = 0.0
        self._serving_since = None
        delay = self._delay
        self._delay = min(_LONGEST_SECONDS, max(_FIRST_SECONDS, 2 * delay))
        return delay
