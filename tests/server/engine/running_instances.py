"""Instances on threads, with a graph that tests steer."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from controlled import PATIENCE, Clock
from numpy.typing import NDArray

from vecserve_server.engine.batching import BatchPolicy
from vecserve_server.engine.call import WorkItem
from vecserve_server.engine.cost import CostModel
from vecserve_server.engine.instances import Instances, Outcome
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.scheduler import Lane, Scheduler

BULK, INTERACTIVE = Priority.BULK, Priority.INTERACTIVE

MakeItems = Callable[..., list[WorkItem]]


class Doubling:
    """A graph whose vector is twice the payload's sum. Its runs wait until they are let go, if they are `held`."""

    def __init__(self) -> None:
        self.held = False
        self.begun = threading.Semaphore(0)
        self.threads: list[str] = []
        self.alone: list[bool] = []
        """Whether each run was told that it is."""
        self.terminated: list[int] = []
        self._let_go = threading.Semaphore(0)

    def run(self, payloads: Sequence[NDArray[Any]], *, alone: bool = False) -> NDArray[np.float32]:
        self.threads.append(threading.current_thread().name)
        self.alone.append(alone)
        self.begun.release()
        if self.held:
            assert self._let_go.acquire(timeout=PATIENCE)
        if any(len(payload) == 13 for payload in payloads):
            raise ValueError("thirteen")
        return np.array([[2 * payload.sum()] for payload in payloads], np.float32)

    def terminate(self, thread: int) -> None:
        self.terminated.append(thread)

    def wait_for_runs(self, count: int) -> None:
        for _ in range(count):
            assert self.begun.acquire(timeout=PATIENCE)

    def let_go(self, count: int) -> None:
        self._let_go.release(count)


class TellingScheduler(Scheduler):
    """Tells when it was emptied."""

    def __init__(self) -> None:
        lane = Lane(BatchPolicy(100, fixed=4.0), CostModel(fixed=1.0, per_unit=0.1))
        super().__init__({("text", priority): lane for priority in Priority})
        self.emptied = threading.Event()

    def take_all(self) -> dict[str, list[WorkItem]]:
        left = super().take_all()
        self.emptied.set()
        return left


class Running:
    """Instances, and what they told."""

    def __init__(self, count: int, clock: Clock) -> None:
        self.graph = Doubling()
        self.outcomes: queue.Queue[Outcome] = queue.Queue()
        self.dropped: queue.Queue[tuple[str, list[WorkItem]]] = queue.Queue()
        self.scheduler = TellingScheduler()
        self.troubles: list[Exception] = []
        """What to raise when told of outcomes."""
        self.troubles_of_drops: list[Exception] = []
        self.deaths: queue.Queue[BaseException] = queue.Queue()
        self.instances = Instances(
            self.scheduler,
            {"text": self.graph},
            count,
            on_outcome=self._store,
            on_dropped=self._drop,
            on_death=self.deaths.put,
            clock=clock,
        )
        self.instances.start()

    def outcome(self) -> Outcome:
        return self.outcomes.get(timeout=PATIENCE)

    def look(self) -> bool:
        self.instances.look_after()
        return True

    def _drop(self, model: str, items: list[WorkItem]) -> None:
        if self.troubles_of_drops:
            raise self.troubles_of_drops.pop()
        self.dropped.put((model, items))

    def _store(self, outcome: Outcome) -> None:
        self.outcomes.put(outcome)
        if self.troubles:
            raise self.troubles.pop()


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def hang(running: Running, make_items: MakeItems, count: int = 1) -> None:
    """Has so many runs hang, each on an instance of its own."""
    running.graph.held = True
    running.instances.submit("text", INTERACTIVE, make_items(*[100] * count))
    running.graph.wait_for_runs(count)
