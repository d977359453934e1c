import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from controlled import PATIENCE, Clock
from numpy.typing import NDArray

from vecserve_server.engine.errors import NotReadyError
from vecserve_server.engine.instances import Instances, Outcome
from vecserve_server.engine.scheduler import BatchLimits, Scheduler, WorkItem

MakeItems = Callable[..., list[WorkItem]]


class Doubling:
    """A graph whose vector is twice the payload's sum. Its runs wait for each other while `together` is set."""

    def __init__(self) -> None:
        self.together: threading.Barrier | None = None
        self.begun = threading.Semaphore(0)

    def run(self, payloads: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        self.begun.release()
        if self.together:
            self.together.wait(PATIENCE)
        if any(len(payload) == 13 for payload in payloads):
            raise ValueError("thirteen")
        return np.array([[2 * payload.sum()] for payload in payloads], np.float32)


class TellingScheduler(Scheduler):
    """Tells when it was emptied."""

    def __init__(self) -> None:
        super().__init__({"text": BatchLimits(100)})
        self.emptied = threading.Event()

    def take_all(self) -> list[WorkItem]:
        left = super().take_all()
        self.emptied.set()
        return left


class Running:
    """Instances, and what they told."""

    def __init__(self, count: int, clock: Clock) -> None:
        self.graph = Doubling()
        self.outcomes: queue.Queue[Outcome] = queue.Queue()
        self.expired: queue.Queue[list[WorkItem]] = queue.Queue()
        self.scheduler = TellingScheduler()
        self.instances = Instances(
            self.scheduler, {"text": self.graph}, count, self.outcomes.put, self.expired.put, clock
        )
        self.instances.start()

    def outcome(self) -> Outcome:
        return self.outcomes.get(timeout=PATIENCE)


@pytest.fixture
def running(clock: Clock) -> Iterator[Running]:
    running = Running(2, clock)
    yield running
    running.instances.stop()


def test_a_batch_is_run_and_told_with_its_vectors(running: Running, make_items: MakeItems, clock: Clock) -> None:
    items = make_items(10, 10)
    running.instances.submit("text", items)

    outcome = running.outcome()

    assert outcome.batch.items == items
    assert outcome.error is None
    assert outcome.vectors is not None
    assert outcome.vectors.tolist() == [[0], [20]]
    assert (outcome.started, outcome.ended) == (clock.now, clock.now)


def test_batches_run_on_as_many_threads_as_there_are_instances(running: Running, make_items: MakeItems) -> None:
    running.graph.together = threading.Barrier(2)

    running.instances.submit("text", make_items(100, 100))

    assert [running.outcome().error for _ in range(2)] == [None, None]


def test_a_failing_run_is_told_and_the_instances_go_on(running: Running, make_items: MakeItems) -> None:
    errors: list[str] = []
    for size in (13, 13, 13, 10):
        running.instances.submit("text", make_items(size))
        outcome = running.outcome()
        assert (outcome.vectors is None) == (outcome.error is not None)
        errors.append(str(outcome.error))

    assert errors == ["thirteen", "thirteen", "thirteen", "None"]


def test_expired_items_are_told_although_nothing_runs(running: Running, make_items: MakeItems, clock: Clock) -> None:
    items = make_items(10, 10, deadline=clock.now)

    running.instances.submit("text", items)

    assert running.expired.get(timeout=PATIENCE) == items
    assert running.outcomes.empty()


def test_stopping_lets_batches_end_and_returns_what_was_queued(running: Running, make_items: MakeItems) -> None:
    running.graph.together = threading.Barrier(3)
    items = make_items(100, 100, 100, 100)
    running.instances.submit("text", items)
    for _ in range(2):
        assert running.graph.begun.acquire(timeout=PATIENCE)
    left: queue.Queue[list[WorkItem]] = queue.Queue()
    stopping = threading.Thread(target=lambda: left.put(running.instances.stop()))
    stopping.start()
    assert running.scheduler.emptied.wait(PATIENCE)
    assert left.empty()

    running.graph.together.wait(PATIENCE)
    stopping.join(PATIENCE)

    assert left.get(timeout=PATIENCE) == items[2:]
    assert sorted(running.outcome().batch.items[0].index for _ in range(2)) == [0, 1]
    assert running.outcomes.empty()


def test_stopped_instances_refuse_work(running: Running, make_items: MakeItems) -> None:
    running.instances.stop()

    with pytest.raises(NotReadyError):
        running.instances.submit("text", make_items(1))
