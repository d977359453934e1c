"""When instances run batches, and how long work is predicted to wait for them, on a simulated clock."""

import asyncio
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from simulated import SimulatedInstances, SimulatedLoop

from vecserve_server.engine.batching import BatchPolicy
from vecserve_server.engine.call import WorkItem
from vecserve_server.engine.cost import CostModel
from vecserve_server.engine.instances import Outcome
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.scheduler import Lane, Scheduler

BULK, INTERACTIVE = Priority.BULK, Priority.INTERACTIVE

MakeItems = Callable[..., list[WorkItem]]


class Running:
    """Two instances. A batch takes one second, and another for every 10 tokens; 100 of them make it full."""

    def __init__(self) -> None:
        self.loop = SimulatedLoop(lag=0.001)
        self.cost = CostModel(fixed=1.0, per_unit=0.1)
        self.slowness = 1.0
        """Of the next runs, compared with what is predicted."""
        self.outcomes: list[Outcome] = []
        self.waits_when_told: list[float] = []
        self.next_ends: list[float] = []
        """When another batch was to end, each time that one ended."""
        lane = Lane(BatchPolicy(100, fixed=4.0), self.cost)
        self.instances = SimulatedInstances(
            self.loop,
            Scheduler({("text", priority): lane for priority in Priority}),
            {"text": self},
            2,
            on_outcome=self._note,
            on_dropped=self._drop,
            on_death=self._fail,
            clock=self.loop.time,
        )
        self.loop.call_soon(self._start)
        self.until(0.5)

    def _start(self) -> None:
        self.instances.start()

    def _note(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.waits_when_told.append(self.instances.wait(INTERACTIVE))
        self.next_ends.append(self.instances.next_end(outcome.batch))

    def _drop(self, model: str, items: list[WorkItem]) -> None: ...

    def _fail(self, error: BaseException) -> None:
        raise error

    def run(self, payloads: Sequence[NDArray[Any]], *, alone: bool = False) -> NDArray[np.float32]:
        self.loop.spend(self.slowness * self.cost.batch_seconds(len(payloads) * max(map(len, payloads))))
        return np.zeros((len(payloads), 1), np.float32)

    def terminate(self, thread: int) -> None: ...

    def until(self, time: float) -> None:
        """Lets everything happen until then."""
        self.loop.run_until_complete(asyncio.sleep(time - self.loop.time()))


@pytest.fixture
def running() -> Iterator[Running]:
    """Since half a second; what is submitted begins at once."""
    running = Running()
    yield running
    running.loop.close()


@pytest.fixture
def submit(running: Running, make_items: MakeItems) -> Callable[..., None]:
    """Submits items of one call, and lets instances take them."""

    def submit(*sizes: int, priority: Priority = INTERACTIVE) -> None:
        running.instances.submit("text", priority, make_items(*sizes))
        running.until(running.loop.time())

    return submit


def test_one_submission_is_spread_over_the_idle_instances(running: Running, submit: Callable[..., None]) -> None:
    submit(*[20] * 4)

    running.until(5.6)

    assert [(len(outcome.batch.items), outcome.started, outcome.ended) for outcome in running.outcomes] == [
        (2, 0.5, 5.5),
        (2, 0.5, 5.5),
    ]


def test_an_instance_takes_the_next_batch_when_it_is_free(running: Running, submit: Callable[..., None]) -> None:
    submit(*[100] * 3)

    running.until(30)

    assert [outcome.started for outcome in running.outcomes] == pytest.approx([0.5, 0.5, 11.5], abs=0.01)


@pytest.mark.parametrize(("waiting", "next_end"), [((80, 80), 11.5), ((80,), math.inf), ((), math.inf)])
def test_the_next_end_is_of_interest_while_there_is_enough_to_do(
    waiting: Sequence[int], next_end: float, running: Running, submit: Callable[..., None]
) -> None:
    """When a batch of 10 s ends, the other runs for another second, and as much should wait for both as it took."""
    submit(100, 90)
    submit(*waiting)

    running.until(10.6)

    assert running.next_ends == [pytest.approx(next_end, abs=0.01)]


def test_the_end_of_a_batch_is_the_last_where_no_other_runs(running: Running, submit: Callable[..., None]) -> None:
    submit(90)
    running.until(10.4)
    submit(100, priority=BULK)

    running.until(10.6)

    assert running.next_ends == [math.inf]


def test_nothing_waits_for_an_idle_instance(running: Running, submit: Callable[..., None]) -> None:
    assert (running.instances.wait(INTERACTIVE), running.instances.wait(BULK)) == (0, 0)

    submit(10)

    assert (running.instances.wait(INTERACTIVE), running.instances.wait(BULK)) == (0, 0)


def test_work_waits_for_its_share_of_what_runs_and_of_what_is_queued(
    running: Running, submit: Callable[..., None]
) -> None:
    submit(100, 100)
    assert running.instances.wait(INTERACTIVE) == pytest.approx(11)

    running.until(1.5)
    assert running.instances.wait(INTERACTIVE) == pytest.approx(10)

    submit(100, 50)
    assert running.instances.wait(INTERACTIVE) == pytest.approx(10 + (11 + 5.5) / 2)


def test_bulk_work_waits_for_interactive_work_and_interactive_work_for_no_bulk(
    running: Running, submit: Callable[..., None]
) -> None:
    submit(100, 100, 100, priority=BULK)
    assert running.instances.wait(INTERACTIVE) == 0
    assert running.instances.wait(BULK) == pytest.approx(11 + 5.5)

    submit(100, 100, 50)

    assert running.instances.wait(INTERACTIVE) == pytest.approx(11 + 2.75)
    assert running.instances.wait(BULK) == pytest.approx(11 + 5.5 + 11 + 2.75)


def test_a_batch_that_takes_longer_than_predicted_counts_as_about_to_end(
    running: Running, submit: Callable[..., None]
) -> None:
    running.slowness = 3.0
    submit(100, 100, 100)

    running.until(20)

    assert running.instances.wait(INTERACTIVE) == pytest.approx(5.5)


def test_whoever_is_told_of_a_batch_need_not_wait_for_it_any_more(
    running: Running, submit: Callable[..., None]
) -> None:
    running.slowness = 0.5
    submit(100, 100)

    running.until(10)

    assert running.waits_when_told == [pytest.approx(5.5 / 2), 0]
