"""The threads that run batches."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vecserve_server.engine.call import WorkItem
from vecserve_server.engine.errors import NotReadyError
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.scheduler import Batch, Scheduler
from vecserve_server.engine.threads import yield_to_others

logger = logging.getLogger(__name__)


class Runner(Protocol):
    """What instances need of a model."""

    def run(self, payloads: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Runs one batch: `(batch, dimensionality)` float32."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a batch."""

    batch: Batch
    vectors: NDArray[np.float32] | None
    """`(batch, dimensionality)`; None if the run failed."""
    error: Exception | None
    started: float
    ended: float


@dataclass(frozen=True, slots=True)
class Load:
    """What waits and runs at one moment."""

    queued: Mapping[tuple[str, Priority], tuple[int, int]]
    """Items and units that wait, by model and priority."""
    instances: int
    """Of each priority."""
    busy: Mapping[Priority, int]
    """Instances that run a batch."""


class Instances:
    """Runs batches on threads of their own, each taking the next one as soon as it is free.

    Every priority has as many threads as there are instances. A bulk batch that runs is never waited for: an
    interactive one starts beside it at once, and the operating system gives it the larger part of the core.

    The scheduler is guarded here: everything that touches it holds one lock.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        runners: Mapping[str, Runner],
        count: int,
        on_outcome: Callable[[Outcome], None],
        on_dropped: Callable[[str, list[WorkItem]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepares `count` instances; the callbacks are called on their threads and must be quick."""
        self._scheduler = scheduler
        self._runners = runners
        self._count = count
        self._on_outcome = on_outcome
        self._on_dropped = on_dropped
        self._clock = clock
        self._lock = threading.Lock()
        self._changed = {priority: threading.Condition(self._lock) for priority in Priority}
        self._idle = dict.fromkeys(Priority, 0)
        self._busy_until = {priority: [0.0] * count for priority in Priority}
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._work, args=(priority, number), name=f"{priority.value}-{number}", daemon=True)
            for priority in Priority
            for number in range(count)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def submit(self, model: str, priority: Priority, items: Iterable[WorkItem]) -> None:
        """Queues items; an idle instance takes them at once.

        Raises:
            NotReadyError: the instances were stopped.
        """
        with self._lock:
            if self._stopping:
                raise NotReadyError("the server has stopped")
            self._scheduler.add(model, priority, items, self._clock())
            self._changed[priority].notify()

    def withdraw(self, model: str, priority: Priority, items: Iterable[WorkItem]) -> int:
        """Takes back items that nobody waits for any more; how many were still queued."""
        with self._lock:
            return len(self._scheduler.remove(model, priority, items))

    def wait(self, priority: Priority) -> float:
        """Seconds until an item that is queued now is predicted to begin. Bulk work waits for interactive work too."""
        queued = sum(self._scheduler.waiting_seconds(level) for level in priority.ahead)
        if not queued and self._idle[priority]:
            return 0.0
        now = self._clock()
        running = sum(max(0.0, end - now) for level in priority.ahead for end in self._busy_until[level])
        return (queued + running) / self._count

    def load(self) -> Load:
        """What waits and runs now."""
        with self._lock:
            busy = {priority: sum(end > 0 for end in ends) for priority, ends in self._busy_until.items()}
            return Load(self._scheduler.waiting(), self._count, busy)

    def stop(self) -> dict[str, list[WorkItem]]:
        """Lets running batches end, and returns the items that nobody will run, by model."""
        with self._lock:
            self._stopping = True
            left = self._scheduler.take_all()
            for changed in self._changed.values():
                changed.notify_all()
        for thread in self._threads:
            if thread.ident is not None:  # it was started
                thread.join()
        return left

    def _work(self, priority: Priority, number: int) -> None:
        yield_to_others(priority)
        while batch := self._next_batch(priority, number):
            outcome = self._run(batch)
            self._tell(priority, number, outcome)

    def _next_batch(self, priority: Priority, number: int) -> Batch | None:
        """Waits for a batch; None when stopping."""
        with self._lock:
            self._idle[priority] += 1
            while not self._stopping:
                if batch := self._take(priority, number):
                    return batch
                self._changed[priority].wait()
        return None

    def _take(self, priority: Priority, number: int) -> Batch | None:
        """What an idle instance runs next; None when nothing waits."""
        now = self._clock()
        batch = self._scheduler.next_batch(priority, now, self._idle[priority])
        for model, items in self._scheduler.take_dropped().items():
            self._on_dropped(model, items)
        if batch:
            self._idle[priority] -= 1
            self._busy_until[priority][number] = now + batch.seconds
            self._changed[priority].notify()  # what is left may be enough for another instance
        return batch

    def _tell(self, priority: Priority, number: int, outcome: Outcome) -> None:
        # First, as whoever is told may look how long there is to wait, and not look again.
        self._busy_until[priority][number] = 0.0
        try:
            self._on_outcome(outcome)
        except Exception:  # a thread that ended would be one instance less, for ever
            logger.exception("a batch of model %s was run, and its outcome lost", outcome.batch.model)

    def _run(self, batch: Batch) -> Outcome:
        started = self._clock()
        vectors, error = None, None
        try:
            vectors = self._runners[batch.model].run([item.payload for item in batch.items])
        except Exception as failure:  # whatever ONNX Runtime raises fails this batch and no other
            error = failure
        return Outcome(batch, vectors, error, started, self._clock())
