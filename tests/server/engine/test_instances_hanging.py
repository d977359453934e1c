from collections.abc import Callable
from typing import Any

import pytest
from controlled import PATIENCE, Clock
from running_instances import Running, hang, wait_until

from vecserve_server.engine.call import WorkItem
from vecserve_server.engine.errors import NotReadyError
from vecserve_server.engine.instances import HangingError
from vecserve_server.engine.priority import Priority

BULK, INTERACTIVE = Priority.BULK, Priority.INTERACTIVE

MakeItems = Callable[..., list[WorkItem]]


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
