"""Which calls to accept: those whose work can be done in time."""

import math

from vecserve_server.engine.errors import OverloadedError

# A client that comes back sooner than this only adds load.
_SHORTEST_RETRY = 0.05


class Admission:
    """Counts the seconds of work that were accepted and are not done, and refuses what would wait too long.

    Pure: it is told the time. An idle engine accepts everything, so that a wrong prediction can't lock it.
    """

    def __init__(self, instances: int, max_wait: float) -> None:
        self._instances = instances
        self._max_wait = max_wait
        self._backlog = 0.0
        self.accepted = 0
        """Calls that were admitted and have not ended."""

    @property
    def wait(self) -> float:
        """Seconds that work accepted now is predicted to wait."""
        return self._backlog / self._instances

    def admit(self, work: float, deadline: float, now: float) -> None:
        """Accepts a call of `work` seconds; `release` gives them back when it has ended.

        Raises:
            OverloadedError: it would wait longer than is allowed, or end after its deadline.
        """
        if self.accepted:
            allowed = min(self._max_wait, deadline - now - work)
            if self.wait > allowed:
                raise _overloaded(self.wait, allowed, math.isfinite(deadline) and allowed < self._max_wait)
        self._backlog += work
        self.accepted += 1

    def revise(self, work: float, actual: float) -> None:
        """Replaces the work that a call was admitted with, now that it is known better."""
        self._backlog = max(0.0, self._backlog + actual - work)

    def release(self, work: float) -> None:
        """Takes back the work of a call that has ended, however it ended."""
        self.accepted -= 1
        self._backlog = max(0.0, self._backlog - work) if self.accepted else 0.0


def _overloaded(wait: float, allowed: float, by_deadline: bool) -> OverloadedError:
    reason = "the deadline can't be met" if by_deadline else "the queue is full"
    retry_after = max(_SHORTEST_RETRY, wait - max(0.0, allowed))
    return OverloadedError(f"{reason}: the work would wait {wait:.2f} s", retry_after)
