"""The threads that run batches."""

import logging
import math
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecserve_server.engine.call import WorkItem
from vecserve_server.engine.errors import NotReadyError
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.resting import Resting
from vecserve_server.engine.scheduler import Batch, Lane, Scheduler
from vecserve_server.engine.seat import Runner, Seat
from vecserve_server.threads import yield_to_others

logger = logging.getLogger(__name__)

# A run may take this much longer than predicted before it counts as hanging, however short the timeout.
_FAR_LONGER = 10.0

# Threads that hang and can't be ended keep their memory, and maybe a core. With more, a new process is the better cure.
_MOST_LOST = 8

# Of a batch for each instance, what has to wait so that none will be without work soon: predictions miss.
_ENOUGH = 0.75

ENDING_SECONDS = 1.0
"""What running batches get to end when the instances are stopped, and then again when they were told to."""


class HangingError(Exception):
    """A run took far longer than it should have, and was given up."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a batch."""

    batch: Batch
    vectors: NDArray[np.float32] | None
    """`(batch, dimensionality)`; None if the run failed."""
    error: BaseException | None
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
        runners: Mapping[Any, Runner],
        count: int,
        on_outcome: Callable[[Outcome], None],
        on_dropped: Callable[[str, list[WorkItem]], None],
        on_death: Callable[[BaseException], None],
        clock: Callable[[], float] = time.monotonic,
        run_timeout: float = 60.0,
    ) -> None:
        """Prepares `count` instances; the callbacks are called on their threads and must be quick.

        Args:
            scheduler: Says what runs next.
            runners: By the keys of the scheduler's lanes.
            count: Instances of each priority.
            on_outcome: Told once of every batch that was begun.
            on_dropped: Told of items that the scheduler dropped.
            on_death: Told when a thread ended that should not have, and nobody knows what it took from the queue.
            clock: Of the scheduler's times.
            run_timeout: Seconds after which a run is given up, unless it was predicted to be long.
        """
        self._scheduler = scheduler
        self._runners = dict(runners)
        self._count = count
        self._on_outcome = on_outcome
        self._on_dropped = on_dropped
        self._on_death = on_death
        self._clock = clock
        self._run_timeout = run_timeout
        self._lock = threading.Lock()
        self._resting = {priority: Resting(self._lock) for priority in Priority}
        self._idle = dict.fromkeys(Priority, 0)
        self._busy_until = {priority: [0.0] * count for priority in Priority}
        self._stopping = False
        self._seats: dict[tuple[Priority, int], Seat] = {}
        self._lost: list[Seat] = []
        self._exhausted = False

    @property
    def exhausted(self) -> bool:
        """Whether a priority has no instance left, and none can take their place."""
        return self._exhausted

    def start(self) -> None:
        with self._lock:
            self._fill_seats()

    def open(self, key: Hashable, model: str, runner: Runner, lanes: Mapping[Priority, Lane]) -> None:
        """Takes items for `key` from now on."""
        with self._lock:
            self._runners[key] = runner
            self._scheduler.open(key, model, lanes)

    def close(self, key: Hashable) -> list[WorkItem]:
        """Takes none any more; the items that still waited are returned. What runs goes on."""
        with self._lock:
            self._runners.pop(key, None)
            return self._scheduler.close(key)

    def clear(self, key: Hashable) -> list[WorkItem]:
        """Takes everything for `key` out of the queue, and returns it."""
        with self._lock:
            return self._scheduler.clear(key)

    def submit(self, key: Hashable, priority: Priority, items: Iterable[WorkItem]) -> None:
        """Queues items; an idle instance takes them at once.

        Raises:
            NotReadyError: the instances were stopped, or have all died.
        """
        with self._lock:
            if self._stopping:
                raise NotReadyError("the server has stopped")
            if self._exhausted:
                raise NotReadyError("every instance of the server hangs: it has to be started anew")
            self._scheduler.add(key, priority, items, self._clock())
            self._resting[priority].wake_one()

    def withdraw(self, key: Hashable, priority: Priority, items: Iterable[WorkItem]) -> int:
        """Takes back items that nobody waits for any more; how many were still queued."""
        with self._lock:
            return len(self._scheduler.remove(key, priority, items))

    def wait(self, priority: Priority) -> float:
        """Seconds until an item that is queued now is predicted to begin. Bulk work waits for interactive work too."""
        work = 0.0
        for level in priority.ahead:
            work += self._scheduler.waiting_seconds(level)
        if not work and self._idle[priority]:
            return 0.0
        now = self._clock()
        for level in priority.ahead:
            for end in self._busy_until[level]:
                if end > now:
                    work += end - now
        return work / self._count

    def next_end(self, batch: Batch) -> float:
        """When another batch beside one that has ended is predicted to end; infinite while there is not much to do.

        That is when less waits than batches like this one for the instances.
        """
        enough = _ENOUGH * self._count * batch.seconds
        with self._lock:
            if self._scheduler.waiting_seconds(batch.priority) < enough:
                return math.inf
            now = self._clock()
            return min((end for end in self._busy_until[batch.priority] if end > now), default=math.inf)

    def leaves_a_core(self, priority: Priority) -> bool:
        """Whether an instance that has just run a batch will rest, while all others of its priority compute."""
        with self._lock:
            return self._count > 1 and not self._idle[priority] and not self._scheduler.has_work(priority)

    def load(self) -> Load:
        """What waits and runs now."""
        with self._lock:
            busy = {priority: sum(end > 0 for end in ends) for priority, ends in self._busy_until.items()}
            return Load(self._scheduler.waiting(), self._count, busy)

    def look_after(self) -> dict[str, list[WorkItem]]:
        """Gives up runs that hang, and puts new threads in the place of those that hang or have ended.

        For a timer to call now and then. Returns items that nobody will run, by model, as no instance is left.
        """
        with self._lock:
            hanging = [self._lose(seat) for seat in list(self._seats.values()) if self._hangs(seat)]
            for place, seat in list(self._seats.items()):
                if not self._is_alive(seat):
                    del self._seats[place]
            self._fill_seats()
            left = self._scheduler.take_all() if self._exhausted else {}
        for outcome, end_run in hanging:
            logger.error("a batch of model %s hangs and is given up: %s", outcome.batch.model, outcome.error)
            self._report(outcome)
            end_run()
        return left

    def stop(self) -> dict[str, list[WorkItem]]:
        """Lets running batches end, and returns the items that nobody will run, by model.

        Batches that don't end in time are given up, and theirs are among them.
        """
        with self._lock:
            self._stopping = True
            left = self._scheduler.take_all()
            for resting in self._resting.values():
                resting.wake_all()
            seats = list(self._seats.values())
        self._join(seats)
        with self._lock:
            hanging = [self._lose(seat) for seat in seats if self._runs(seat)]
        for outcome, end_run in hanging:
            logger.error("a batch of model %s did not end: %s", outcome.batch.model, outcome.error)
            left.setdefault(outcome.batch.model, []).extend(outcome.batch.items)
            end_run()
        self._join(self._lost)
        return left

    def _fill_seats(self) -> None:
        """Has a thread in every seat, if it can be. Under the lock."""
        self._lost = [seat for seat in self._lost if self._is_alive(seat)]
        for priority in Priority:
            for number in range(self._count):
                if (priority, number) not in self._seats and not self._stopping and len(self._lost) < _MOST_LOST:
                    self._fill(Seat(priority, number))
        manned = {priority for priority, _ in self._seats}
        self._exhausted = len(manned) < len(Priority) and not self._stopping

    def _fill(self, seat: Seat) -> None:
        name = f"{seat.priority.value}-{seat.number}"
        self._rest(seat)  # before its thread has come so far: nothing need wait for it
        try:
            self._start(seat, name)
        except RuntimeError as error:  # the system has no room for another thread
            self._idle[seat.priority] -= 1
            logger.error("instance %s can't be started: %s", name, error)
        else:
            self._seats[seat.priority, seat.number] = seat

    def _start(self, seat: Seat, name: str) -> None:
        seat.thread = threading.Thread(target=self._work, args=(seat,), name=name, daemon=True)
        seat.thread.start()

    def _is_alive(self, seat: Seat) -> bool:
        return seat.thread is not None and seat.thread.is_alive()

    def _runs(self, seat: Seat) -> bool:
        return seat.batch is not None

    def _join(self, seats: Sequence[Seat]) -> None:
        """Waits until their threads have ended, but not for long."""
        end = time.monotonic() + ENDING_SECONDS
        for seat in seats:
            if seat.thread:
                seat.thread.join(max(0.0, end - time.monotonic()))

    def _hangs(self, seat: Seat) -> bool:
        if seat.batch is None:
            return False
        return self._clock() - seat.started >= max(self._run_timeout, _FAR_LONGER * seat.batch.seconds)

    def _lose(self, seat: Seat) -> tuple[Outcome, Callable[[], None]]:
        """Gives up what a seat runs: its outcome, and what ends the run. Under the lock."""
        assert seat.batch
        now = self._clock()
        error = HangingError(f"it ran for {now - seat.started:.1f} s, and {seat.batch.seconds:.3f} s were predicted")
        outcome = Outcome(seat.batch, None, error, seat.started, now)
        runner, thread = seat.runner, seat.thread
        seat.lost, seat.batch, seat.runner = True, None, None
        self._busy_until[seat.priority][seat.number] = 0.0
        del self._seats[seat.priority, seat.number]
        self._lost.append(seat)
        return outcome, lambda: runner.terminate(thread.ident) if runner and thread and thread.ident else None

    def _work(self, seat: Seat) -> None:
        try:
            yield_to_others(seat.priority.niceness)
            while self._work_once(seat):
                pass
        except BaseException as error:  # ours, as what a run raises is its outcome
            self._die(seat, error)

    def _die(self, seat: Seat, error: BaseException) -> None:
        logger.error("instance %s-%d died, and is replaced", seat.priority.value, seat.number, exc_info=error)
        with self._lock:
            batch, self._idle[seat.priority] = seat.batch, self._idle[seat.priority] - seat.idle
            seat.idle, seat.batch, seat.runner = False, None, None
            if not seat.lost:
                self._busy_until[seat.priority][seat.number] = 0.0
            self._resting[seat.priority].wake_one()  # it may have been this one that was to take what waits
        if batch:
            self._report(Outcome(batch, None, error, seat.started, self._clock()))
        else:
            self._on_death(error)

    def _work_once(self, seat: Seat) -> bool:
        """Runs the next batch; False when there will be none. What it held is gone when it returns, models included."""
        batch = self._next_batch(seat)
        return batch is not None and self._tell(seat, self._run(seat, batch))

    def _next_batch(self, seat: Seat) -> Batch | None:
        """Waits for a batch; None when stopping."""
        with self._lock:
            self._rest(seat)
            while not self._stopping:
                if batch := self._take(seat):
                    return batch
                self._resting[seat.priority].wait()
        return None

    def _rest(self, seat: Seat) -> None:
        """Counts a seat as idle, if it is not yet. Under the lock."""
        self._idle[seat.priority] += not seat.idle
        seat.idle = True

    def _take(self, seat: Seat) -> Batch | None:
        """What an idle instance runs next; None when nothing waits."""
        priority = seat.priority
        if not self._scheduler.has_work(priority):
            return None
        now = self._clock()
        running = [other.batch for other in self._seats.values() if other.batch]
        batch = self._scheduler.next_batch(priority, now, self._idle[priority], running)
        for model, items in self._scheduler.take_dropped().items():
            self._report_dropped(model, items)
        if batch:
            self._idle[priority] -= 1
            seat.idle = False
            seat.batch, seat.runner, seat.started = batch, self._runners[batch.key], now
            self._busy_until[priority][seat.number] = batch.end
            if self._scheduler.has_work(priority):
                self._resting[priority].wake_one()  # what is left may be enough for another instance
        return batch

    def _tell(self, seat: Seat, outcome: Outcome) -> bool:
        """Reports the outcome, unless the run was given up; whether the instance goes on."""
        with self._lock:
            if seat.lost:
                return False
            seat.batch = seat.runner = None
            # First, as whoever is told may look how long there is to wait, and not look again.
            self._busy_until[seat.priority][seat.number] = 0.0
        self._report(outcome)
        return True

    def _report(self, outcome: Outcome) -> None:
        try:
            self._on_outcome(outcome)
        except Exception:  # a thread that ended would be one instance less
            logger.exception("a batch of model %s was run, and its outcome lost", outcome.batch.model)

    def _report_dropped(self, model: str, items: list[WorkItem]) -> None:
        try:
            self._on_dropped(model, items)
        except Exception:  # as above
            logger.exception("%d items for model %s were dropped, and nobody told", len(items), model)

    def _run(self, seat: Seat, batch: Batch) -> Outcome:
        runner = seat.runner
        started = self._clock()
        try:
            assert runner
            vectors = runner.run([item.payload for item in batch.items], alone=batch.alone)
        except Exception as failure:  # whatever ONNX Runtime raises fails this batch and no other
            return Outcome(batch, None, failure, started, self._clock())
        return Outcome(batch, vectors, None, started, self._clock())
