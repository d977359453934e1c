"""Which calls to accept: those whose work can be done in time."""

import math

from vecserve_server.engine.errors import OverloadedError

# A client that comes back sooner than this only adds load.
_SHORTEST_RETRY = 0.05

# Part of the time which a deadline leaves beside the work that may be spent waiting. The rest is for the other items of
# its batch, and for predictions that miss. At 0.8, three times too much load with deadlines of 250 ms left no time for
# company: batches of 1.6 texts did half of the work that larger ones do.
_PROMISED = 0.5


class DeadlineUnmetError(OverloadedError):
    """The work would end after its deadline."""


def admit(wait: float, work: float, patience: float, longest_wait: float) -> None:
    """Accepts work of `work` seconds that would wait for `wait`, if its caller waits for `patience`.

    Work that need not wait is always accepted, so that a wrong prediction corrects itself.

    Raises:
        OverloadedError: it would wait longer than `longest_wait`, or end after its deadline.
    """
    if wait <= 0:
        return
    in_time = _PROMISED * (patience - work)
    if wait > in_time:
        raise DeadlineUnmetError(_message("the deadline can't be met", wait), _retry_after(wait - in_time))
    if wait > longest_wait:
        raise OverloadedError(_message("the queue is full", wait), _retry_after(wait - longest_wait))


def _message(reason: str, wait: float) -> str:
    return f"{reason}: the work would wait {wait:.2f} s"


def _retry_after(excess: float) -> float:
    return max(_SHORTEST_RETRY, excess if math.isfinite(excess) else 0.0)
