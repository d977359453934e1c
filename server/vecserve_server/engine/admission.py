"""Which calls to accept: those whose work can be done in time."""

import math

from vecserve_server.engine.errors import OverloadedError

# A client that comes back sooner than this only adds load.
_SHORTEST_RETRY = 0.05

# Part of the time which a deadline leaves beside the work that may be spent waiting. The rest is for the other items of
# its batch, and for predictions that miss. At 0.8, three times too much load with deadlines of 250 ms left no time for
# company: batches of 1.6 texts did half of the work that larger ones do.
_PROMISED = 0.5

_FORGETTING = 1.01


class DeadlineUnmetError(OverloadedError):
    """The work would end after its deadline."""


def refusal(wait: float, work: float, patience: float, longest_wait: float) -> OverloadedError | None:
    """Why work of `work` seconds that would wait for `wait` is not accepted, if its caller waits for `patience`.

    It would end after its deadline, or wait longer than `longest_wait`. None if it is accepted. Work that need not wait
    always is, so that a wrong prediction corrects itself.
    """
    if wait <= 0:
        return None
    in_time = _PROMISED * (patience - work)
    if wait > in_time:
        return DeadlineUnmetError(_message("the deadline can't be met", wait), _retry_after(wait - in_time))
    if wait > longest_wait:
        return OverloadedError(_message("the queue is full", wait), _retry_after(wait - longest_wait))
    return None


class LeastWork:
    """The least that one of the latest calls asked for, in seconds: what the next will ask for at least, most likely.

    A call that would be refused even with that can be refused before it is read.
    """

    def __init__(self) -> None:
        self.seconds = 0.0

    def observe(self, work: float) -> None:
        """Takes note of a call's work. What was less than that counts for some hundred calls."""
        self.seconds = min(work, _FORGETTING * self.seconds) if self.seconds else work


def _message(reason: str, wait: float) -> str:
    return f"{reason}: the work would wait {wait:.2f} s"


def _retry_after(excess: float) -> float:
    """In hundredths, so that many callers are told the same."""
    return max(_SHORTEST_RETRY, math.ceil(excess * 100) / 100 if math.isfinite(excess) else 0.0)
