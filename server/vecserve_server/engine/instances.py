"""The threads that run batches."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vecserve_server.engine.errors import NotReadyError
from vecserve_server.engine.scheduler import Batch, Scheduler, WorkItem


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


class Instances:
    """Runs batches on threads of their own, each taking the next one as soon as it is free.

    The scheduler is guarded here: everything that touches it holds one lock.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        runners: Mapping[str, Runner],
        count: int,
        on_outcome: Callable[[Outcome], None],
        on_expired: Callable[[list[WorkItem]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepares `count` instances; the callbacks are called on their threads and must be quick."""
        self._scheduler = scheduler
        self._runners = runners
        self._on_outcome = on_outcome
        self._on_expired = on_expired
        self._clock = clock
        self._changed = threading.Condition()
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._work, name=f"instance-{number}", daemon=True) for number in range(count)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def submit(self, model: str, items: Iterable[WorkItem]) -> None:
        """Queues items; an idle instance takes them at once.

        Raises:
            NotReadyError: the instances were stopped.
        """
        with self._changed:
            if self._stopping:
                raise NotReadyError("the server has stopped")
            self._scheduler.add(model, items, self._clock())
            self._changed.notify()

    def stop(self) -> list[WorkItem]:
        """Lets running batches end, and returns the items that nobody will run."""
        with self._changed:
            self._stopping = True
            left = self._scheduler.take_all()
            self._changed.notify_all()
        for thread in self._threads:
            if thread.ident is not None:  # it was started
                thread.join()
        return left

    def _work(self) -> None:
        while batch := self._next_batch():
            self._on_outcome(self._run(batch))

    def _next_batch(self) -> Batch | None:
        """Waits for a batch; None when stopping."""
        with self._changed:
            while not self._stopping:
                batch = self._scheduler.next_batch(self._clock())
                if expired := self._scheduler.take_expired():
                    self._on_expired(expired)
                if batch:
                    self._changed.notify()  # what is left may be enough for another instance
                    return batch
                self._changed.wait()
        return None

    def _run(self, batch: Batch) -> Outcome:
        started = self._clock()
        vectors, error = None, None
        try:
            vectors = self._runners[batch.model].run([item.payload for item in batch.items])
        except Exception as failure:  # whatever ONNX Runtime raises fails this batch and no other
            error = failure
        return Outcome(batch, vectors, error, started, self._clock())
