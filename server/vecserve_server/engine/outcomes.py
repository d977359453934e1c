"""The way of vectors from the threads that compute them to their calls, and of the news to the event loop."""

import dataclasses
import logging
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from vecserve_server.engine.call import Call, WorkItem
from vecserve_server.engine.errors import InferenceFailedError
from vecserve_server.engine.instances import Outcome
from vecserve_server.engine.norms import euclidean_norms, normalize
from vecserve_server.engine.rows import pack

logger = logging.getLogger(__name__)

# Callers wait for a batch that is predicted to end within so long, in seconds and in parts of what their own took. Of
# 64 short texts in flight in int8, another batch often ends within 4 ms; with 8 ms their callers come back too late to
# keep the instances busy.
_SOON = 0.004
_SOON_PART = 0.5


@dataclass(slots=True)
class Stored:
    """A batch whose vectors are with their calls, which are to be told."""

    outcome: Outcome
    complete: list[Call] = field(default_factory=list[Call])
    """Those that have all of theirs now."""
    not_finite: list[WorkItem] = field(default_factory=list[WorkItem])
    """Items whose vectors are of no use."""
    waited: bool = False
    """Whether its calls are told together with the next."""


class Outcomes:
    """Stores what batches compute, and has the event loop told: of what can wait together with the next.

    Whoever owns it calls `settle_all` now and then as well, as the next may hang.

    The event loop takes a millisecond longer for what it does when it was woken up than for the same in a row with
    other work, as the threads that compute leave nothing of its code and data in the processor's caches.
    """

    def __init__(self, settle: Callable[[Stored], None], wake: Callable[[Outcome], object]) -> None:
        """Prepares it; `settle` is told of each batch once, in order, and `wake` has `settle_all` called soon.

        `wake` is called on the thread of the instance whose batch is the reason.
        """
        self._settle = settle
        self._wake = wake
        self._lock = threading.Lock()
        self._stored: list[Stored] = []

    def store(self, outcome: Outcome, next_end: Callable[[], float]) -> None:
        """Hands a batch's vectors to their calls, which end however this goes. On the instance's thread.

        `next_end` says when another batch will end, if nobody need be told of this one before to keep the instances
        busy; infinite otherwise.
        """
        stored = Stored(outcome)
        try:
            self._hand_out(stored)
        except Exception as error:
            stored = Stored(dataclasses.replace(outcome, error=error))
            raise
        finally:
            self._put(stored, next_end)

    def settle_all(self) -> None:
        """Has calls told of everything that is stored. On the event loop."""
        with self._lock:
            taken, self._stored = self._stored, []
        for stored in taken:
            try:
                self._settle(stored)
            except Exception as error:  # the others' calls wait too
                logger.exception("the calls of a batch of model %s were not all told", stored.outcome.batch.model)
                self._fail(stored, error)

    def _fail(self, stored: Stored, cause: Exception) -> None:
        """Ends the calls of a batch that have not ended: nobody would tell them any more."""
        for item in stored.outcome.batch.items:
            item.call.fail(InferenceFailedError("the outcome of a batch was lost", cause))

    def _hand_out(self, stored: Stored) -> None:
        outcome = stored.outcome
        if outcome.vectors is None:
            return
        items = outcome.batch.items
        norms = euclidean_norms(outcome.vectors)
        finite = [math.isfinite(norm) for norm in norms.tolist()]
        kinds = {item.call.normalized for item in items}
        rows = {kind: pack(normalize(outcome.vectors, norms) if kind else outcome.vectors) for kind in kinds}
        computed: dict[Call, int] = {}
        for place, (item, sound) in enumerate(zip(items, finite, strict=True)):
            call = item.call
            call.rows[item.index] = rows[call.normalized][place]
            if sound:
                computed[call] = computed.get(call, 0) + 1
            else:
                stored.not_finite.append(item)
        with self._lock:  # other items of a call may be stored at this moment
            stored.complete = [
                call for call, count in computed.items() if call.advance(count, outcome.started, outcome.ended)
            ]

    def _put(self, stored: Stored, next_end: Callable[[], float]) -> None:
        # Under one lock: a batch that is about to end when it is asked for finds this one waiting when it has ended.
        with self._lock:
            stored.waited = not self._stored and _can_wait(stored, next_end)
            self._stored.append(stored)
        if not stored.waited:
            self._wake(stored.outcome)


def _can_wait(stored: Stored, next_end: Callable[[], float]) -> bool:
    """Whether calls need not be told of a batch before the next one ends.

    They need not if none is complete: the rest of theirs is yet to come. Others wait for a moment, if they also have
    the time that another such batch takes, as the prediction may be wrong.
    """
    outcome = stored.outcome
    if outcome.error or stored.not_finite:
        return False
    if not stored.complete:
        return True
    seconds = outcome.ended - outcome.started
    latest = outcome.ended + min(_SOON, _SOON_PART * seconds)
    return next_end() <= latest and all(latest + seconds <= call.deadline for call in stored.complete)
