import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from controlled import PATIENCE, Clock
from numpy.typing import NDArray

from vecserve_server.engine.batching import BatchPolicy
from vecserve_server.engine.call import WorkItem
from vecserve_server.engine.cost import CostModel
from vecserve_server.engine.errors import NotReadyError
from vecserve_server.engine.instances import HangingError, Instances, Outcome
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
        self.terminated: list[int] = []
        self._let_go = threading.Semaphore(0)

    def run(self, payloads: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        self.threads.append(threading.current_thread().name)
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


@pytest.fixture
def running(clock: Clock) -> Iterator[Running]:
    """Two instances."""
    running = Running(2, clock)
    yield running
    running.graph.let_go(100)
    running.instances.stop()


def test_a_batch_is_run_and_told_with_its_vectors(running: Running, make_items: MakeItems, clock: Clock) -> None:
    items = make_items(10, 10)
    running.instances.submit("text", INTERACTIVE, items)

    outcome = running.outcome()

    assert outcome.batch.items == items
    assert outcome.error is None
    assert outcome.vectors is not None
    assert outcome.vectors.tolist() == [[0], [20]]
    assert (outcome.started, outcome.ended) == (clock.now, clock.now)


@pytest.mark.parametrize("priority", Priority)
def test_every_priority_has_a_thread_for_each_instance(
    running: Running, make_items: MakeItems, priority: Priority
) -> None:
    running.graph.held = True

    running.instances.submit("text", priority, make_items(*[100] * 2))

    running.graph.wait_for_runs(2)
    assert sorted(running.graph.threads) == [f"{priority.value}-0", f"{priority.value}-1"]


def test_an_interactive_batch_starts_while_bulk_batches_occupy_every_instance(
    running: Running, make_items: MakeItems
) -> None:
    running.graph.held = True
    running.instances.submit("text", BULK, make_items(*[100] * 3))
    running.graph.wait_for_runs(2)

    running.instances.submit("text", INTERACTIVE, make_items(10))

    running.graph.wait_for_runs(1)
    assert running.graph.threads[-1].startswith("interactive")


def test_bulk_work_never_takes_the_threads_of_interactive_work(running: Running, make_items: MakeItems) -> None:
    running.instances.submit("text", BULK, make_items(*[100] * 8))

    for _ in range(8):
        assert running.outcome().batch.priority is BULK
    assert set(running.graph.threads) <= {"bulk-0", "bulk-1"}


def test_a_failing_run_is_told_and_the_instances_go_on(running: Running, make_items: MakeItems) -> None:
    errors: list[str] = []
    for size in (13, 13, 13, 10):
        running.instances.submit("text", INTERACTIVE, make_items(size))
        outcome = running.outcome()
        assert (outcome.vectors is None) == (outcome.error is not None)
        errors.append(str(outcome.error))

    assert errors == ["thirteen", "thirteen", "thirteen", "None"]


def test_whoever_is_told_may_raise_and_the_instances_go_on(
    running: Running, make_items: MakeItems, caplog: pytest.LogCaptureFixture
) -> None:
    running.troubles += [RuntimeError("no memory")] * 3
    for _ in range(4):
        running.instances.submit("text", INTERACTIVE, make_items(10))
        running.outcome()
    running.instances.stop()

    assert caplog.text.count("no memory") == 3
    assert "a batch of model text was run, and its outcome lost" in caplog.text


def test_dropped_items_are_told_although_nothing_runs(running: Running, make_items: MakeItems, clock: Clock) -> None:
    items = make_items(10, 10, deadline=clock.now)

    running.instances.submit("text", INTERACTIVE, items)

    assert running.dropped.get(timeout=PATIENCE) == ("text", items)
    assert running.outcomes.empty()


def test_withdrawn_items_are_counted_and_not_run(running: Running, make_items: MakeItems) -> None:
    running.graph.held = True
    runs, waits, stays = make_items(100, 100), make_items(100, 100), make_items(100)
    for items in (runs, waits, stays):
        running.instances.submit("text", INTERACTIVE, items)
    running.graph.wait_for_runs(2)

    assert running.instances.withdraw("text", INTERACTIVE, [*runs, *waits]) == 2
    assert running.instances.withdraw("text", INTERACTIVE, waits) == 0

    running.graph.let_go(3)
    computed = [item for _ in range(3) for item in running.outcome().batch.items]
    assert set(computed) == {*runs, *stays}


def test_stopping_lets_batches_end_and_returns_what_was_queued(running: Running, make_items: MakeItems) -> None:
    running.graph.held = True
    items = make_items(100, 100, 100, 100)
    running.instances.submit("text", INTERACTIVE, items)
    running.graph.wait_for_runs(2)
    left: queue.Queue[dict[str, list[WorkItem]]] = queue.Queue()
    stopping = threading.Thread(target=lambda: left.put(running.instances.stop()))
    stopping.start()
    assert running.scheduler.emptied.wait(PATIENCE)
    assert left.empty()

    running.graph.let_go(2)
    stopping.join(PATIENCE)

    assert left.get(timeout=PATIENCE) == {"text": items[2:]}
    assert sorted(running.outcome().batch.items[0].index for _ in range(2)) == [0, 1]
    assert running.outcomes.empty()


def test_stopped_instances_refuse_work(running: Running, make_items: MakeItems) -> None:
    running.instances.stop()

    with pytest.raises(NotReadyError):
        running.instances.submit("text", INTERACTIVE, make_items(1))


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


def test_a_run_that_takes_far_too_long_is_given_up_and_told_once(
    running: Running, make_items: MakeItems, clock: Clock
) -> None:
    hang(running, make_items)
    clock.now += 109.9  # ten times the prediction, which is longer than the timeout
    assert running.instances.look_after() == {}
    assert running.outcomes.empty()

    clock.now += 0.1
    running.instances.look_after()

    outcome = running.outcome()
    assert isinstance(outcome.error, HangingError)
    assert "ran for 110.0 s, and 11.000 s were predicted" in str(outcome.error)
    assert len(running.graph.terminated) == 1
    running.graph.let_go(1)
    running.instances.look_after()
    assert running.outcomes.empty()


def test_another_thread_takes_the_place_of_one_that_hangs(
    running: Running, make_items: MakeItems, clock: Clock
) -> None:
    hang(running, make_items, 2)
    clock.now += 110
    running.instances.look_after()
    running.graph.held = False

    running.instances.submit("text", INTERACTIVE, make_items(10))

    running.graph.wait_for_runs(1)
    errors = [running.outcome().error for _ in range(3)]
    assert [isinstance(error, HangingError) for error in errors] == [True, True, False]
    assert running.instances.wait(INTERACTIVE) == 0


def test_short_runs_get_the_whole_timeout(make_items: MakeItems, clock: Clock) -> None:
    running = Running(1, clock)
    hang_of_a_second = make_items(1)
    running.graph.held = True
    running.instances.submit("text", INTERACTIVE, hang_of_a_second)
    running.graph.wait_for_runs(1)

    clock.now += 59.9
    running.instances.look_after()
    assert running.outcomes.empty()
    clock.now += 0.1
    running.instances.look_after()

    assert isinstance(running.outcome().error, HangingError)
    running.graph.let_go(1)
    running.instances.stop()


def test_with_too_many_lost_threads_nothing_is_taken_on_any_more_until_they_end(
    make_items: MakeItems, clock: Clock
) -> None:
    running = Running(1, clock)
    for _ in range(7):
        hang(running, make_items)
        clock.now += 110
        assert running.instances.look_after() == {}
    hang(running, make_items)
    waiting = make_items(100)
    running.instances.submit("text", INTERACTIVE, waiting)
    clock.now += 110

    assert running.instances.look_after() == {"text": waiting}
    assert running.instances.exhausted
    with pytest.raises(NotReadyError, match="has to be started anew"):
        running.instances.submit("text", INTERACTIVE, make_items(10))

    for _ in range(8):
        assert isinstance(running.outcome().error, HangingError)
    running.graph.held = False
    running.graph.let_go(8)
    wait_until(lambda: running.instances.look_after() == {} and not running.instances.exhausted)
    running.instances.submit("text", INTERACTIVE, make_items(10))
    assert running.outcome().error is None
    running.instances.stop()


def test_an_instance_that_dies_is_replaced_and_what_may_be_lost_is_told(
    running: Running, make_items: MakeItems, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    next_batch = running.scheduler.next_batch

    def fail(*args: Any) -> None:
        monkeypatch.setattr(running.scheduler, "next_batch", next_batch)
        raise MemoryError("no memory")

    monkeypatch.setattr(running.scheduler, "next_batch", fail)
    running.instances.submit("text", INTERACTIVE, make_items(10))

    assert isinstance(running.deaths.get(timeout=PATIENCE), MemoryError)
    wait_until(lambda: any("died" in message for message in caplog.messages))
    wait_until(lambda: running.look() and running.graph.begun.acquire(timeout=0.1))
    assert running.outcome().error is None
    assert running.instances.wait(INTERACTIVE) == 0


def test_whoever_is_told_of_dropped_items_may_raise_and_the_instances_go_on(
    running: Running, make_items: MakeItems, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    running.troubles_of_drops += [RuntimeError("no room")]
    running.instances.submit("text", INTERACTIVE, make_items(10, 10, deadline=clock.now))
    running.instances.submit("text", INTERACTIVE, make_items(10))

    assert running.outcome().error is None
    assert "no room" in caplog.text
    assert running.deaths.empty()


def test_stopping_does_not_wait_for_a_run_that_hangs(
    running: Running, make_items: MakeItems, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vecserve_server.engine.instances.ENDING_SECONDS", 0.05)
    items = make_items(100)
    running.graph.held = True
    running.instances.submit("text", INTERACTIVE, items)
    running.graph.wait_for_runs(1)

    assert running.instances.stop() == {"text": items}

    assert len(running.graph.terminated) == 1
    running.graph.let_go(1)
    assert running.outcomes.empty()


def test_what_was_run_is_not_held_on_to(running: Running, make_items: MakeItems) -> None:
    graph = weakref.ref(other := Doubling())
    lane = Lane(BatchPolicy(100, fixed=4.0), CostModel(fixed=1.0, per_unit=0.1))
    key = object()
    running.instances.open(key, "other", other, dict.fromkeys(Priority, lane))
    running.instances.submit(key, INTERACTIVE, make_items(10))
    assert running.outcome().batch.model == "other"

    running.instances.close(key)
    del other

    wait_until(lambda: graph() is None)


def test_items_that_wait_for_a_key_that_is_closed_are_returned(running: Running, make_items: MakeItems) -> None:
    hang(running, make_items, 2)
    key, items = object(), make_items(10, 10)
    lane = Lane(BatchPolicy(100, fixed=4.0), CostModel(fixed=1.0, per_unit=0.1))
    running.instances.open(key, "text", Doubling(), dict.fromkeys(Priority, lane))
    running.instances.submit(key, INTERACTIVE, items[:1])
    running.instances.submit(key, BULK, [])

    assert running.instances.close(key) == items[:1]
    running.graph.let_go(2)
