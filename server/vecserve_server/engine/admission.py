"""Which calls to accept: those whose work can be done in time."""

import math

from vecserve_server.engine.errors import OverloadedError

# A client that comes back sooner than this only adds load.
_SHORTEST_RETRY = 0.05

# Part of the time which a deadline leaves beside the work that may be spent waiting. The rest is for the other items of
# its batch, and for predictions that miss. At 0.8, three times too much load with deadlines of 250 ms left no time for
# company: batches of 1.6 texts did half of the work that larger ones do.
_PROMISED = 0.5

# By how much the least of the latest calls grows with each that asks for more.
_FORGETTING = 1.01

# A tenth as quick: most calls may be refused, and what the others ask for is to count.
_DOUBT = 0.999

# Of the time that a caller waits.
_LITTLE = 0.05


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
    """The least that one of the latest calls asked for: what the next will ask for at least, most likely.

    A call that would be refused even with that can be refused before it is read.
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        self.queued = 0.0
        """What such a call adds to the queue, in seconds of one instance: less, as it will share a batch."""

    def observe(self, work: float, queued: float) -> None:
        """Takes note of a call's work, and of what it adds to the queue. Less than that counts for a hundred calls."""
        self._seconds = _less(self._seconds, work)
        self.queued = _less(self.queued, queued)

    def refused(self) -> None:
        """Takes note of a call that was refused for it: of what that asked for nothing is known."""
        self._seconds *= _DOUBT
        self.queued *= _DOUBT

    def within(self, patience: float) -> float:
        """The least, in seconds, for a call whose caller waits for `patience`.

        It may ask for less than all of the latest did, and nobody would find out: no more is taken for granted than
        makes little difference to it.
        """
        return min(self._seconds, max(0.0, _LITTLE * patience))


def _less(known: float, new: float) -> float:
    """The lesser of what was known, which is forgotten by and by, and what is new; a hundredth of that at least."""
    return min(new, max(_FORGETTING * known, new / 100)) if known else new


def _message(reason: str, wait: float) -> str:
    return f"{reason}: the work would wait {wait:.2f} s"


def _retry_after(excess: float) -> float:
    """In hundredths, so that many callers are told the same."""
    return max(_SHORTEST_RETRY, math.ceil(excess * 100) / 100 if math.isfinite(excess) else 0.0)
