"""The scheduler under random traffic on a simulated clock: what must hold whatever comes."""

import heapq
import itertools
import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vecserve_server.engine.batching import BatchPolicy
from vecserve_server.engine.call import Call, WorkItem
from vecserve_server.engine.cost import CostModel
from vecserve_server.engine.errors import EngineError, InferenceFailedError
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.scheduler import Batch, Lane, Scheduler

# A model as most are, one without a fixed cost, and one with nothing else; each with its largest batch.
MODELS = {"text": (CostModel(0.4, 0.05), 64), "image": (CostModel(0.0, 1.0), 4), "flat": (CostModel(1.0, 0.0), 32)}
LARGEST_ITEM = {"text": 80, "image": 1, "flat": 24}
TICK = 0.5
NOTHING: NDArray[Any] = np.empty(0)

Key = tuple[str, Priority]


@dataclass(frozen=True)
class Arrival:
    """A call that comes `gap` ticks after the one before, and what its caller wants."""

    gap: int
    model: str
    priority: Priority
    sizes: list[int]
    patience: int | None
    """Ticks to its deadline."""
    cancelled_after: int | None


@dataclass(frozen=True)
class World:
    """Everything else that chance decides."""

    instances: int
    weights: tuple[float, ...]
    runs: list[tuple[float, bool]]
    """How much slower than predicted each run is, and whether it fails."""
    stop_at: int | None


class Simulation:
    """Instances on a simulated clock, and an account of what became of every item."""

    def __init__(self, world: World) -> None:
        self.now = 0.0
        self.lanes = {
            (model, priority): Lane(BatchPolicy.of(cost, largest), CostModel(cost.fixed, cost.per_unit), weight)
            for (model, (cost, largest)), weight in zip(MODELS.items(), world.weights, strict=True)
            for priority in Priority
        }
        self.scheduler = Scheduler(self.lanes)
        self.idle = dict.fromkeys(Priority, world.instances)
        self.running: list[Batch] = []
        self.stopped = False
        self.waiting: dict[Key, dict[WorkItem, None]] = {key: {} for key in self.lanes}
        """What is queued, in the order it came."""
        self.queued = dict.fromkeys(self.lanes, 0)
        """The same in units."""
        self.fates: dict[WorkItem, str] = {}
        self.granted: dict[Key, defaultdict[str, float]] = {key: defaultdict(float) for key in self.lanes}
        """Of each model, what others were given since it began to wait or was given something itself."""
        self.last = dict.fromkeys(self.lanes, 0.0)
        """Seconds of each model's last batch."""
        self._runs = itertools.cycle(world.runs)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._planned = itertools.count()

    def after(self, seconds: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._planned), event))

    def run(self) -> None:
        while self._events:
            self.now, _, event = heapq.heappop(self._events)
            event()
            for priority in Priority:
                while self.idle[priority] and not self.stopped and (batch := self._take(priority)):
                    self._begin(batch)

    def arrive(self, arrival: Arrival) -> None:
        if self.stopped:
            return
        key = arrival.model, arrival.priority
        deadline = math.inf if arrival.patience is None else self.now + arrival.patience * TICK
        items: list[WorkItem] = []

        def leave(error: EngineError | None) -> None:
            """The caller has gone, and says so a moment later."""
            self.after(0.0, lambda: self._withdraw(key, items))

        def cancel() -> None:
            call.abandon()
            leave(None)

        call = Call([], leave, deadline)
        items += [WorkItem(call, index, NOTHING, size) for index, size in enumerate(arrival.sizes)]
        if not self.waiting[key]:
            self.granted[key].clear()
        self.waiting[key] |= dict.fromkeys(items)
        self.queued[key] += sum(arrival.sizes)
        self.scheduler.add(*key, items, self.now)
        if arrival.cancelled_after is not None:
            self.after(arrival.cancelled_after * TICK, cancel)

    def stop(self) -> None:
        self.stopped = True
        for model, items in self.scheduler.take_all().items():
            for item in items:
                (key,) = (key for key in self.lanes if key[0] == model and item in self.waiting[key])
                self._end(key, item, "left")
        assert not any(self.waiting.values())

    def _withdraw(self, key: Key, items: list[WorkItem]) -> None:
        queued = [item for item in items if item in self.waiting[key]]
        assert self.scheduler.remove(*key, items) == queued
        for item in queued:
            self._end(key, item, "withdrawn")

    def _end(self, key: Key, item: WorkItem, fate: str) -> None:
        assert item not in self.fates, f"{fate}, and before: {self.fates[item]}"
        self.fates[item] = fate
        del self.waiting[key][item]
        self.queued[key] -= item.size

    def _take(self, priority: Priority) -> Batch | None:
        queued = self.queued.copy()
        running = [each for each in self.running if each.priority is priority]
        batch = self.scheduler.next_batch(priority, self.now, self.idle[priority], running)
        dropped = self.scheduler.take_dropped()
        for model, items in dropped.items():
            for item in items:
                self._drop((model, priority), item)
        assert self.scheduler.take_dropped() == {}
        if batch is None:
            assert not any(self.waiting[key] for key in self.lanes if key[1] is priority), "idle while work waits"
            return None
        assert batch.priority is priority
        key = batch.model, priority
        assert batch.items[0] is next(iter(self.waiting[key])), "the oldest item does not lead"
        first = batch.items[0]
        needed = self.lanes[key].cost.batch_seconds(first.size)
        came_to_idle = len(self.waiting[key]) == 1 and self.now - first.arrival < needed
        assert came_to_idle or self.now + 1.2 * needed < due(first), "computed though it will hardly be in time"
        for item in batch.items:
            assert not item.call.abandoned
            assert item.call.deadline > self.now
            self._end(key, item, "computed")
        self._check_size(batch, queued[key] if batch.model not in dropped else None)
        self._check_shares(batch)
        self._check_waiting_seconds(priority)
        return batch

    def _drop(self, key: Key, item: WorkItem) -> None:
        if not item.call.abandoned and item.call.deadline > self.now:
            needed = self.lanes[key].cost.batch_seconds(item.size)
            assert self.now + 1.2 * needed >= due(item), "dropped too early"
            assert len(self.waiting[key]) > 1 or self.now - item.arrival >= needed, "dropped though it came alone"
        self._end(key, item, "dropped")

    def _check_waiting_seconds(self, priority: Priority) -> None:
        lanes = [(self.queued[key], lane) for key, lane in self.lanes.items() if key[1] is priority]
        full = [(size / lane.policy.full, lane.cost.batch_seconds(lane.policy.full)) for size, lane in lanes]
        expected = sum(batches * seconds for batches, seconds in full)
        assert abs(self.scheduler.waiting_seconds(priority) - expected) < 1e-6

    def _check_size(self, batch: Batch, queued: int | None) -> None:
        """What makes a batch of several items too large; `queued` units waited, if that is certain."""
        policy, cost = self.lanes[batch.model, batch.priority].policy, self.lanes[batch.model, batch.priority].cost
        assert batch.seconds == cost.batch_seconds(batch.padded_size)
        if len(batch.items) == 1:
            return
        assert batch.padded_size <= policy.largest
        assert batch.padded_size - batch.size <= max(0.75 * policy.fixed, 0.05 * batch.padded_size)
        assert self.now + 1.6 * batch.seconds <= min(due(item) for item in batch.items)
        if queued is not None:
            longest = cost.batch_seconds(min(queued, policy.full))
            others = [each for each in self.running if each.priority is batch.priority]
            running = [each for each in others if each.end < self.now + 0.75 * longest]
            own = sum(each.size for each in running if each.model == batch.model)
            budget = policy.budget(queued, self.idle[batch.priority], own, len(running))
            leading = batch.items[0].call
            waited = self.now - batch.items[0].arrival
            together = [*batch.items, *self.waiting[batch.model, batch.priority]]
            whole = sum(item.size for item in together if item.call is leading)
            together_at_last = waited >= cost.batch_seconds(whole) / 3 - 1e-9 and self.idle[batch.priority] == 1
            assert batch.size <= budget or (batch.size <= whole <= 1.5 * policy.full and together_at_last)

    def _check_shares(self, batch: Batch) -> None:
        """Others are not served ahead of a model that waits, but for what it was given before and one batch each."""
        given = batch.model, batch.priority
        for key in self.lanes:
            if key == given or key[1] is not batch.priority or not self.waiting[key]:
                continue
            advance = self.lanes[given].weight * self.last[key] / self.lanes[key].weight
            assert self.granted[key][batch.model] <= advance + 1e-6, f"{batch.model} is served ahead of {key[0]}"
            self.granted[key][batch.model] += batch.seconds
        self.granted[given].clear()
        self.last[given] = batch.seconds

    def _begin(self, batch: Batch) -> None:
        slowness, fails = next(self._runs)
        self.idle[batch.priority] -= 1
        self.running.append(batch)
        self.after(slowness * batch.seconds, lambda: self._finish(batch, slowness, fails=fails))

    def _finish(self, batch: Batch, slowness: float, *, fails: bool) -> None:
        self.idle[batch.priority] += 1
        self.running = [each for each in self.running if each is not batch]
        if fails:
            for item in batch.items:
                item.call.fail(InferenceFailedError("failed"))
        else:
            cost = self.lanes[batch.model, batch.priority].cost
            cost.observe(batch.padded_size, slowness * batch.seconds)


def due(item: WorkItem) -> float:
    """When its run is to end at the latest: a 25th of the time that it had is not counted on."""
    deadline = item.call.deadline
    return deadline if deadline == math.inf else deadline - 0.04 * (deadline - item.arrival)


def arrival(chance: bytes) -> Arrival:
    """A call made of random bytes, as drawing every field by itself takes longer than the schedule runs."""
    gap, kind, patience, cancelled_after, *sizes = chance
    model = list(MODELS)[kind % 3]
    return Arrival(
        gap=[0, 0, 0, 1, 1, 4, 20][gap % 7],
        model=model,
        priority=list(Priority)[kind // 3 % 2],
        sizes=[1 + size % LARGEST_ITEM[model] for size in sizes],
        patience=None if patience > 127 else patience % 41,
        cancelled_after=None if cancelled_after > 63 else cancelled_after % 41,
    )


runs = st.tuples(st.sampled_from([0.1, 0.8, 1.0, 1.0, 1.5, 5.0]), st.sampled_from([False, False, False, True]))
worlds = st.builds(
    World,
    instances=st.integers(1, 3),
    weights=st.tuples(*[st.sampled_from([1.0, 2.0, 0.25])] * 3),
    runs=st.lists(runs, min_size=1, max_size=6),
    stop_at=st.none() | st.integers(0, 60),
)


@settings(max_examples=25 * settings().max_examples)
@given(traffic=st.lists(st.binary(min_size=5, max_size=16).map(arrival), max_size=16), world=worlds)
def test_every_item_ends_once_in_time_and_in_its_turn(traffic: list[Arrival], world: World) -> None:
    simulation = Simulation(world)
    for time, arrival in zip(itertools.accumulate(arrival.gap * TICK for arrival in traffic), traffic, strict=True):
        simulation.after(time, lambda arrival=arrival: simulation.arrive(arrival))
    if world.stop_at is not None:
        simulation.after(world.stop_at * TICK, simulation.stop)

    simulation.run()

    assert not any(simulation.waiting.values())
    assert simulation.scheduler.take_all() == {}
    assert set(simulation.idle.values()) == {world.instances}
