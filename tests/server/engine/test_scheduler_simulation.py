"""The scheduler under random traffic on a simulated clock: what must hold whatever comes."""

import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vecserve_server.engine.call import Call
from vecserve_server.engine.errors import EngineError, ExpiredError, InferenceFailedError, NotReadyError
from vecserve_server.engine.scheduler import Batch, BatchLimits, Scheduler, WorkItem

LIMITS = {"text": BatchLimits(64, padding=8), "image": BatchLimits(4)}
LARGEST = {"text": 100, "image": 1}
FIXED_SECONDS, UNIT_SECONDS = 1.0, 0.05
LONGEST_BATCH = FIXED_SECONDS + UNIT_SECONDS * max(LARGEST["text"], LIMITS["text"].padded_size)


@dataclass(frozen=True)
class Arrival:
    """A call that comes, and when it wants to be answered or goes away."""

    gap: float
    model: str
    sizes: list[int]
    patience: float
    cancelled_after: float | None


@dataclass
class Simulation:
    """Instances on a simulated clock, and an account of what became of every item."""

    instances: int
    failures: list[bool]
    now: float = 0.0
    scheduler: Scheduler = field(default_factory=lambda: Scheduler(LIMITS))
    stopped: bool = False
    idle: int = 0
    batches: int = 0
    calls: list[Call] = field(default_factory=list[Call])
    endings: list[list[EngineError | None]] = field(default_factory=list[list[EngineError | None]])
    waiting: dict[WorkItem, tuple[int, int]] = field(default_factory=dict[WorkItem, tuple[int, int]])
    """What is queued, with the items then ahead of it and the batches begun before it came."""
    fates: Counter[tuple[WorkItem, str]] = field(default_factory=Counter[tuple[WorkItem, str]])
    planned: int = 0
    events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list[Any])

    def at(self, time: float, event: Callable[[], None]) -> None:
        self.planned += 1
        heapq.heappush(self.events, (time, self.planned, event))

    def run(self) -> None:
        self.idle = self.instances
        while self.events:
            self.now, _, event = heapq.heappop(self.events)
            event()
            while self.idle and not self.stopped and (batch := self._take()):
                self._begin(batch)

    def arrive(self, arrival: Arrival) -> None:
        if self.stopped:
            return
        ends: list[EngineError | None] = []
        vectors = np.full((len(arrival.sizes), 1), -1, np.float32)
        call = Call(vectors, self.now + arrival.patience, ends.append)
        items = [WorkItem(call, i, np.array([i]), size) for i, size in enumerate(arrival.sizes)]
        self.calls.append(call)
        self.endings.append(ends)
        # At a tie of arrivals, items of the other model may go first.
        for ahead, item in enumerate(items, start=len(self._live())):
            self.waiting[item] = ahead, self.batches
        for item, (ahead, begun) in self.waiting.items():
            if item.call is not call and item.arrival == self.now:
                self.waiting[item] = ahead + len(items), begun
        self.scheduler.add(arrival.model, items, self.now)
        if arrival.cancelled_after is not None:
            self.at(self.now + arrival.cancelled_after, call.abandon)

    def stop(self) -> None:
        self.stopped = True
        for item in self.scheduler.take_all():
            self.fates[item, "left"] += 1
            del self.waiting[item]
            item.call.fail(NotReadyError("stopped"))

    def _take(self) -> Batch | None:
        batch = self.scheduler.next_batch(self.now)
        for item in self.scheduler.take_expired():
            assert item.call.deadline <= self.now
            self.fates[item, "expired"] += 1
            del self.waiting[item]
            item.call.fail(ExpiredError("late"))
        live = self._live()
        if batch is None:
            assert not live, "an instance is idle while work waits"
            return None
        assert min(item.arrival for item in batch.items) == min(item.arrival for item in live)
        return batch

    def _live(self) -> list[WorkItem]:
        return [item for item in self.waiting if not item.call.abandoned and item.call.deadline > self.now]

    def _begin(self, batch: Batch) -> None:
        sizes = [item.size for item in batch.items]
        assert len(sizes) == 1 or LIMITS[batch.model].allow(len(sizes), max(sizes), sum(sizes))
        for item in batch.items:
            assert not item.call.abandoned
            assert item.call.deadline > self.now
            ahead, begun = self.waiting.pop(item)
            # Each batch that went before held one of the items ahead, and no instance was idle meanwhile.
            assert self.batches - begun <= ahead
            assert self.now - item.arrival <= (self.instances + ahead) * LONGEST_BATCH / self.instances + 1e-9
        self.idle -= 1
        failed = self.failures[self.batches % len(self.failures)]
        self.batches += 1
        started = self.now
        self.at(started + FIXED_SECONDS + UNIT_SECONDS * batch.padded_size, lambda: self._end(batch, started, failed))

    def _end(self, batch: Batch, started: float, failed: bool) -> None:
        self.idle += 1
        for item in batch.items:
            self.fates[item, "computed"] += 1
            if failed:
                item.call.fail(InferenceFailedError("failed"))
            else:
                item.call.vectors[item.index] = item.payload
                item.call.advance(item.index, started, self.now)


def arrivals(model: str) -> st.SearchStrategy[Arrival]:
    seconds = st.floats(0, 30, allow_nan=False)
    return st.builds(
        Arrival,
        gap=st.just(0.0) | st.floats(0, 5),
        model=st.just(model),
        sizes=st.lists(st.integers(1, LARGEST[model]), min_size=1, max_size=12),
        patience=st.just(float("inf")) | seconds,
        cancelled_after=st.none() | seconds,
    )


@given(
    traffic=st.lists(arrivals("text") | arrivals("image"), max_size=25),
    instances=st.integers(1, 4),
    failures=st.lists(st.booleans(), min_size=1, max_size=8),
    stop_at=st.none() | st.floats(0, 40),
)
def test_every_item_ends_exactly_once_in_time_and_in_its_place(
    traffic: list[Arrival], instances: int, failures: list[bool], stop_at: float | None
) -> None:
    simulation = Simulation(instances, failures)
    for time, arrival in zip(itertools.accumulate(arrival.gap for arrival in traffic), traffic, strict=True):
        simulation.at(time, lambda arrival=arrival: simulation.arrive(arrival))
    if stop_at is not None:
        simulation.at(stop_at, simulation.stop)

    simulation.run()

    assert simulation.scheduler.take_all() == []
    assert simulation.idle == instances
    assert set(simulation.fates.values()) <= {1}
    seen = Counter(item for item, _ in simulation.fates)
    assert set(seen.values()) <= {1}
    assert all(item.call.abandoned for item in simulation.waiting), "an item was lost"
    assert not seen.keys() & simulation.waiting.keys()
    for call, ends in zip(simulation.calls, simulation.endings, strict=True):
        assert len(ends) == 1 or (not ends and call.abandoned)
        if ends == [None]:
            assert call.vectors.ravel().tolist() == list(range(len(call.vectors)))
