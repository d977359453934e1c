import queue
import threading
import weakref
from collections.abc import Callable

import pytest
from controlled import PATIENCE, Clock
from running_instances import Doubling, Running, hang, wait_until

from vecserve_server.engine.batching import BatchPolicy
from vecserve_server.engine.call import WorkItem
from vecserve_server.engine.cost import CostModel
from vecserve_server.engine.errors import NotReadyError
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.scheduler import Lane

BULK, INTERACTIVE = Priority.BULK, Priority.INTERACTIVE

MakeItems = Callable[..., list[WorkItem]]


def test_a_batch_is_run_and_told_with_its_vectors(running: Running, make_items: MakeItems, clock: Clock) -> None:
    items = make_items(5, 5)
    running.instances.submit("text", INTERACTIVE, items)

    outcome = running.outcome()

    assert outcome.batch.items == items
    assert outcome.error is None
    assert outcome.vectors is not None
    assert outcome.vectors.tolist() == [[0], [10]]
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


def test_a_batch_is_run_alone_unless_another_runs_at_any_priority(running: Running, make_items: MakeItems) -> None:
    running.instances.submit("text", INTERACTIVE, make_items(10))
    running.graph.wait_for_runs(1)
    running.outcome()
    running.graph.held = True
    running.instances.submit("text", BULK, make_items(10))
    running.graph.wait_for_runs(1)

    running.instances.submit("text", INTERACTIVE, make_items(10))

    running.graph.wait_for_runs(1)
    assert running.graph.alone == [True, False, False]


def test_bulk_work_never_takes_the_threads_of_interactive_work(running: Running, make_items: MakeItems) -> None:
    running.instances.submit("text", BULK, make_items(*[100] * 8))

    for _ in range(8):
        assert running.outcome().batch.priority is BULK
    assert set(running.graph.threads) <= {"bulk-0", "bulk-1"}


def test_who_ends_leaves_a_core_if_nothing_waits_and_no_other_rests(running: Running, make_items: MakeItems) -> None:
    running.graph.held = True
    assert not running.instances.leaves_a_core(INTERACTIVE)

    running.instances.submit("text", INTERACTIVE, make_items(*[100] * 2))
    running.graph.wait_for_runs(2)
    assert running.instances.leaves_a_core(INTERACTIVE)
    assert not running.instances.leaves_a_core(BULK)

    running.instances.submit("text", INTERACTIVE, make_items(100))
    assert not running.instances.leaves_a_core(INTERACTIVE)


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


def test_whoever_is_told_of_dropped_items_may_raise_and_the_instances_go_on(
    running: Running, make_items: MakeItems, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    running.troubles_of_drops += [RuntimeError("no room")]
    running.instances.submit("text", INTERACTIVE, make_items(10, 10, deadline=clock.now))
    running.instances.submit("text", INTERACTIVE, make_items(10))

    assert running.outcome().error is None
    assert "no room" in caplog.text
    assert running.deaths.empty()


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
