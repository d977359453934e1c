"""Which items run next, and together.

Pure: no threads, no event loop, and the clock is handed in, so that schedules are tested by simulation.
"""

import itertools
import math
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from vecserve_server.engine.batching import BatchPolicy
from vecserve_server.engine.call import Call, WorkItem
from vecserve_server.engine.cost import CostModel
from vecserve_server.engine.priority import Priority

# Batches that have to end by a deadline are taken to last so many times as long as the cost model says. Under overload,
# one text in 150 was computed too late at 1.2, one in 500 at 1.4, one in 2700 at 1.6; as many were in time.
_SPARE = 1.6

# A run ends by the deadline less this part of the time that the item had when it came: instances lose the core for some
# milliseconds at a time, which is much beside short runs.
_MARGIN = 0.04

# An item is dropped unless there is time for so many times what its own run is predicted to take.
_SPARE_ALONE = 1.2

# A batch that ends within this part of the time which the next one takes will need some of what waits now. One that
# ends later finds the callers of the next one back, or about to be.
_WELL_BEFORE = 0.75

# A call that waited for this part of what its batch takes gains little by being spread over instances that are not
# idle, and one batch of all its items costs less than two.
_WAITED = 1 / 3


@dataclass(frozen=True, slots=True)
class Batch:
    """Items of one model that run together."""

    model: str
    """Its name, of whichever version."""
    priority: Priority
    items: list[WorkItem]
    seconds: float
    """How long it is predicted to run."""
    key: Hashable = field(default=None, compare=False)
    """What the model's queue was opened under: of two versions each has its own."""
    end: float = 0.0
    """When it is predicted to end."""
    alone: bool = False
    """Whether it may have all cores, and end the sooner: somebody waits for it, and nothing ran or waited beside it."""
    size: int = field(init=False, compare=False)
    """Units without padding."""
    padded_size: int = field(init=False, compare=False)
    """Units that are computed: every item counts as the largest."""

    def __post_init__(self) -> None:
        sizes = [item.size for item in self.items]
        object.__setattr__(self, "size", sum(sizes))
        object.__setattr__(self, "padded_size", len(sizes) * max(sizes))


@dataclass(frozen=True, slots=True)
class Lane:
    """How one model's items of one priority are batched, and what they cost."""

    policy: BatchPolicy
    cost: CostModel
    weight: float = 1.0
    """Share of the instances' time beside other models of the priority."""

    def queued_seconds(self, size: int) -> float:
        """Time of one instance that `size` units take in full batches."""
        full = self.policy.full
        return size / full * self.cost.batch_seconds(full)


class _Queue:
    """What waits for one model at one priority."""

    def __init__(self, key: Hashable, model: str, lane: Lane) -> None:
        self.key = key
        self.model = model
        self.lane = lane
        self.served = 0.0
        """Seconds of the instances that it got, divided by its weight."""
        self.size = 0
        """Units that wait, without padding."""
        # Ordered dictionaries, as items leave from anywhere: batches, cancellations.
        self._by_arrival: OrderedDict[WorkItem, None] = OrderedDict()
        self._by_size: dict[int, OrderedDict[WorkItem, None]] = {}

    def __len__(self) -> int:
        return len(self._by_arrival)

    def __contains__(self, item: WorkItem) -> bool:
        return item in self._by_arrival

    def __iter__(self) -> Iterator[WorkItem]:
        return iter(self._by_arrival)

    def seconds(self) -> float:
        """Time of one instance that the queue takes if its batches are full."""
        return self.lane.queued_seconds(self.size)

    def add(self, item: WorkItem) -> None:
        self._by_arrival[item] = None
        self._by_size.setdefault(item.size, OrderedDict())[item] = None
        self.size += item.size

    def take(self, item: WorkItem) -> None:
        """Takes an item out, wherever it stands."""
        del self._by_arrival[item]
        same_size = self._by_size[item.size]
        del same_size[item]
        if not same_size:
            del self._by_size[item.size]
        self.size -= item.size

    def sizes_near(self, size: int) -> list[int]:
        """The sizes that wait, by distance from `size`."""
        return sorted(self._by_size, key=lambda other: abs(other - size))

    def rest_of(self, call: Call) -> int:
        """Units of the call that leads the queue, as far as they wait: they came one after the other."""
        return sum(item.size for item in itertools.takewhile(lambda item: item.call is call, self))

    def first(self, size: int | None = None) -> WorkItem | None:
        """The item that has waited longest, of all or of one size."""
        items = self._by_arrival if size is None else self._by_size.get(size)
        return next(iter(items), None) if items else None


class _Draft:
    """A batch in the making."""

    def __init__(self, first: WorkItem) -> None:
        self.items: list[WorkItem] = []
        self.size = self.longest = 0
        self.due = math.inf
        self.add(first)

    def add(self, item: WorkItem) -> None:
        self.items.append(item)
        self.size += item.size
        # Comparisons take half as long as `max` and `min`, and there is one of these for each item.
        if item.size > self.longest:
            self.longest = item.size
        if item.due < self.due:
            self.due = item.due


class Scheduler:
    """Holds what waits, and hands out batches.

    Work-conserving: whenever something waits there is a batch. Models share the time by their weights: the one that
    had least of it goes next (start-time fair queueing, Goyal et al. 1996). Of a model, the item that has waited
    longest is always in the batch, so that none waits longer than those before it take; the rest are the items nearest
    to it in size. A batch grows only as far as its items, and the oldest one that stays behind, meet their deadlines.
    """

    def __init__(self, lanes: Mapping[tuple[str, Priority], Lane] | None = None) -> None:
        """Opens lanes by the names of their models; more can be opened later."""
        self._queues: dict[Priority, dict[Hashable, _Queue]] = {priority: {} for priority in Priority}
        for (model, priority), lane in (lanes or {}).items():
            self._queues[priority][model] = _Queue(model, model, lane)
        # What the model that went last had been served until then: where those begin that asked for nothing meanwhile.
        self._served = dict.fromkeys(Priority, 0.0)
        self._dropped: dict[str, list[WorkItem]] = {}
        # When the latest batches that ran beside each other were predicted to have ended.
        self._shared_until = -math.inf

    def open(self, key: Hashable, model: str, lanes: Mapping[Priority, Lane]) -> None:
        """Queues what comes for `key`, and tells of it under the name of its model."""
        for priority, lane in lanes.items():
            self._queues[priority][key] = _Queue(key, model, lane)

    def close(self, key: Hashable) -> list[WorkItem]:
        """Forgets what was opened; the items that still waited are returned."""
        left = self.clear(key)
        for queues in self._queues.values():
            queues.pop(key, None)
        return left

    def clear(self, key: Hashable) -> list[WorkItem]:
        """Empties the queues of `key`, and returns what waited in them."""
        taken: list[WorkItem] = []
        for queues in self._queues.values():
            if queue := queues.get(key):
                taken += self._empty(queue)
        return taken

    def waiting_seconds(self, priority: Priority) -> float:
        """Instances' time that everything queued is predicted to take."""
        seconds = 0.0
        for queue in self._queues[priority].values():  # every call asks: a generator would take twice as long
            if queue.size:
                seconds += queue.seconds()
        return seconds

    def has_work(self, priority: Priority) -> bool:
        """Whether anything is queued."""
        return any(self._queues[priority].values())

    def waiting(self) -> dict[tuple[str, Priority], tuple[int, int]]:
        """Items and units that are queued, by model and priority, whichever version they are for."""
        waiting: dict[tuple[str, Priority], tuple[int, int]] = {}
        for priority, queues in self._queues.items():
            for queue in queues.values():
                items, units = waiting.get((queue.model, priority), (0, 0))
                waiting[queue.model, priority] = items + len(queue), units + queue.size
        return waiting

    def add(self, key: Hashable, priority: Priority, items: Iterable[WorkItem], now: float) -> None:
        """Queues items, in order."""
        queue = self._queues[priority][key]
        if not queue:
            queue.served = max(queue.served, self._served[priority])  # nothing is made up for
        for item in items:
            item.arrival, item.due = now, _due(item.call.deadline, now)
            queue.add(item)

    def remove(self, key: Hashable, priority: Priority, items: Iterable[WorkItem]) -> list[WorkItem]:
        """Takes items out of the queue, wherever they stand; those that were still there are returned."""
        queue = self._queues[priority][key]
        removed = [item for item in items if item in queue]
        for item in removed:
            queue.take(item)
        return removed

    def next_batch(self, priority: Priority, now: float, idle: int = 1, running: Sequence[Batch] = ()) -> Batch | None:
        """Takes the next batch of that priority out of the queue; None when nothing waits.

        `idle` instances are free, the asking one included, and others, of any priority, are at `running`. Items that
        nobody waits for any more are dropped on the way, and kept for `take_dropped`.
        """
        ready = [
            (queue.served, first.arrival, queue.model, queue, first)
            for queue in self._queues[priority].values()
            if (first := self._oldest(queue, now))
        ]
        if not ready:
            return None
        _, _, model, queue, first = min(ready, key=lambda candidate: candidate[:3])
        beside = [batch for batch in running if batch.priority is priority]
        draft = self._fill(queue, first, now, _budget(queue, first, now, idle, beside))
        seconds = queue.lane.cost.batch_seconds(len(draft.items) * draft.longest)
        self._served[priority] = queue.served
        queue.served += seconds / queue.lane.weight
        end = now + seconds
        if running:
            self._shared_until = max(end, *(batch.end for batch in running))
        others = running or now < self._shared_until + seconds or any(map(self.has_work, Priority))
        alone = priority is Priority.INTERACTIVE and not others
        return Batch(model, priority, draft.items, seconds, queue.key, end, alone)

    def take_dropped(self) -> dict[str, list[WorkItem]]:
        """Items by model that were dropped as their deadline passed, or would have before their end; each once."""
        dropped, self._dropped = self._dropped, {}
        return dropped

    def take_all(self) -> dict[str, list[WorkItem]]:
        """Empties the queue, for shutting down; the items are returned by model."""
        taken: dict[str, list[WorkItem]] = {}
        for queue in [queue for queues in self._queues.values() for queue in queues.values()]:
            if left := self._empty(queue):
                taken.setdefault(queue.model, []).extend(left)
        return taken

    def _empty(self, queue: _Queue) -> list[WorkItem]:
        left = list(queue)
        for item in left:
            queue.take(item)
        return left

    def _oldest(self, queue: _Queue, now: float) -> WorkItem | None:
        """The item worth computing that has waited longest; it stays queued."""
        while item := queue.first():
            if self._keep(queue, item, now, queue.lane.cost.batch_seconds(item.size)):
                return item
        return None

    def _fill(self, queue: _Queue, first: WorkItem, now: float, budget: int) -> "_Draft":
        """The batch of at most `budget` units that `first` leads: items by distance from its size, then by arrival."""
        policy, cost = queue.lane.policy, queue.lane.cost
        queue.take(first)
        draft = _Draft(first)
        closed: set[bool] = set()
        for size in queue.sizes_near(first.size):
            longer, longest = size > first.size, max(draft.longest, size)
            needed = cost.batch_seconds(size)
            while item := queue.first(size):
                if not self._keep(queue, item, now, needed):
                    continue
                total = draft.size + size
                # What is further away and smaller would fit the budget, and add padding.
                if total > budget or len(closed) == 2:
                    return draft
                count = len(draft.items) + 1
                end = now + _SPARE * cost.batch_seconds(count * longest)
                in_time = end <= draft.due and end <= item.due
                in_time = in_time and end <= self._latest_end(queue, item, first, now)
                if longer in closed or not in_time or not policy.allow(count, longest, total):
                    closed.add(longer)  # items still further away fit no better
                    break
                queue.take(item)
                draft.add(item)
        return draft

    def _latest_end(self, queue: _Queue, item: WorkItem, first: WorkItem, now: float) -> float:
        """When the batch must end so that the oldest item that stays behind is in time, if it can be at all."""
        oldest, cost = queue.first(), queue.lane.cost
        if oldest is None or oldest is item:
            return math.inf
        needed = cost.batch_seconds(oldest.size)
        in_time = now + cost.batch_seconds(first.size) + needed <= oldest.due
        return oldest.due - _SPARE * needed if in_time else math.inf

    def _keep(self, queue: _Queue, item: WorkItem, now: float, needed: float) -> bool:
        """Whether the item is worth computing, its own run being predicted to take `needed`; if not, it is dropped.

        One that is alone and has hardly waited is computed even if it is predicted to be late, so that a wrong
        prediction corrects itself: it is what an idle engine accepts whatever it predicts.
        """
        if not item.call.abandoned:
            if now + _SPARE_ALONE * needed < item.due:
                return True
            came_to_idle = len(queue) == 1 and now - item.arrival < needed
            if came_to_idle and now < item.call.deadline:
                return True
        queue.take(item)
        self._dropped.setdefault(queue.model, []).append(item)
        return False


def _due(deadline: float, now: float) -> float:
    """By when a run of an item that comes now is to end."""
    return deadline - _MARGIN * (deadline - now) if deadline < math.inf else deadline


def _budget(queue: _Queue, first: WorkItem, now: float, idle: int, running: Sequence[Batch]) -> int:
    """Units of the next batch, beside those that end well before it would and so need some of the queue meanwhile.

    Of their work only the queue's own has anything to do with it. The call that leads stays together if it has waited.
    """
    policy, cost = queue.lane.policy, queue.lane.cost
    longest = cost.batch_seconds(min(queue.size, policy.full))
    earlier = [batch for batch in running if batch.end < now + _WELL_BEFORE * longest]
    own = sum(batch.size for batch in earlier if batch.key == queue.key)
    budget = policy.budget(queue.size, idle, own, len(earlier))
    whole = queue.rest_of(first.call)
    has_waited = now - first.arrival >= _WAITED * cost.batch_seconds(whole)
    fits = policy.budget(whole, idle=1) == whole
    return max(budget, whole) if idle == 1 and has_waited and fits else budget
