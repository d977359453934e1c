"""Which items run next, and together.

Pure: no threads, no event loop, and the clock is handed in, so that schedules are tested by simulation.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from vecserve_server.engine.call import Call


@dataclass(eq=False, slots=True)
class WorkItem:
    """One input of one call, waiting to be computed."""

    call: Call
    index: int
    """Its place among the call's inputs."""
    payload: NDArray[Any]
    size: int
    """In the model's unit: tokens, or images."""
    arrival: float = 0.0
    queued: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Items of one model that run together."""

    model: str
    items: list[WorkItem]

    @property
    def padded_size(self) -> int:
        """Units that are computed: every item counts as the largest."""
        return len(self.items) * max(item.size for item in self.items)


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What a batch of one model may hold. A single item always fits."""

    padded_size: int
    """Units after padding at which a batch is full."""
    padding: int = 0
    """Units of padding below which joining is cheaper than another run's fixed cost."""
    padding_share: float = 0.1
    """Share of a larger batch that padding may take."""

    def allow(self, count: int, longest: int, total: int) -> bool:
        """Whether `count` items of `total` units together, the longest of `longest`, may be one batch."""
        padded = count * longest
        return padded <= self.padded_size and padded - total <= max(self.padding, self.padding_share * padded)


@dataclass(eq=False, slots=True)
class _Queue:
    limits: BatchLimits
    by_arrival: deque[WorkItem] = field(default_factory=deque[WorkItem])
    by_size: dict[int, deque[WorkItem]] = field(default_factory=dict[int, deque[WorkItem]])


class Scheduler:
    """Holds what waits, and hands out batches.

    Work-conserving: whenever something waits there is a batch. The item that has waited longest is always in it, so
    none waits longer than those before it take; the rest of the batch are the items nearest to it in size.
    """

    def __init__(self, limits: dict[str, BatchLimits]) -> None:
        self._queues = {model: _Queue(limit) for model, limit in limits.items()}
        self._expired: list[WorkItem] = []

    def add(self, model: str, items: Iterable[WorkItem], now: float) -> None:
        """Queues items, in order."""
        queue = self._queues[model]
        for item in items:
            item.arrival, item.queued = now, True
            queue.by_arrival.append(item)
            queue.by_size.setdefault(item.size, deque()).append(item)

    def next_batch(self, now: float) -> Batch | None:
        """Takes the next batch out of the queue; None when nothing waits.

        Abandoned items are dropped on the way, and expired ones kept for `take_expired`.
        """
        oldest: tuple[str, _Queue, WorkItem] | None = None
        for model, queue in self._queues.items():
            item = self._oldest(queue, now)
            if item and (oldest is None or item.arrival < oldest[2].arrival):
                oldest = model, queue, item
        if oldest is None:
            return None
        model, queue, first = oldest
        return Batch(model, self._fill(queue, first, now))

    def take_expired(self) -> list[WorkItem]:
        """Items whose deadline passed while they waited, each once."""
        expired, self._expired = self._expired, []
        return expired

    def take_all(self) -> list[WorkItem]:
        """Empties the queue; for shutting down."""
        items = [item for queue in self._queues.values() for item in queue.by_arrival if item.queued]
        for queue in self._queues.values():
            queue.by_arrival.clear()
            queue.by_size.clear()
        return items

    def _oldest(self, queue: _Queue, now: float) -> WorkItem | None:
        """The live item that has waited longest; it stays queued."""
        while queue.by_arrival:
            item = queue.by_arrival[0]
            if item.queued and self._is_live(item, now):
                return item
            queue.by_arrival.popleft()
            if item.queued:
                _remove(queue, item)
        return None

    def _fill(self, queue: _Queue, first: WorkItem, now: float) -> list[WorkItem]:
        _remove(queue, first)
        items, total, longest = [first], first.size, first.size
        for item in self._nearest(queue, first.size, now):
            longest_with = max(longest, item.size)
            if not queue.limits.allow(len(items) + 1, longest_with, total + item.size):
                break
            _remove(queue, item)
            items.append(item)
            total, longest = total + item.size, longest_with
        return items

    def _nearest(self, queue: _Queue, size: int, now: float) -> Iterator[WorkItem]:
        """Live items by distance from `size`, then by arrival. Each must be removed before the next."""
        for candidate in sorted(queue.by_size, key=lambda other: abs(other - size)):
            while waiting := queue.by_size.get(candidate):
                if self._is_live(waiting[0], now):
                    yield waiting[0]
                else:
                    _remove(queue, waiting[0])

    def _is_live(self, item: WorkItem, now: float) -> bool:
        if item.call.abandoned:
            return False
        if item.call.deadline <= now:
            self._expired.append(item)
            return False
        return True


def _remove(queue: _Queue, item: WorkItem) -> None:
    """Takes an item out; `by_arrival` forgets it when it comes to its front."""
    item.queued = False
    waiting = queue.by_size[item.size]
    waiting.remove(item)  # at or near the front: sizes are served in order of arrival
    if not waiting:
        del queue.by_size[item.size]
