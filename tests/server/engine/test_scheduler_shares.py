"""How several models share the instances."""

from collections import Counter
from collections.abc import Callable

import pytest

from vecserve_server.engine.batching import BatchPolicy
from vecserve_server.engine.call import WorkItem
from vecserve_server.engine.cost import CostModel
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.scheduler import Lane, Scheduler

BULK, INTERACTIVE = Priority.BULK, Priority.INTERACTIVE

MakeItems = Callable[..., list[WorkItem]]


@pytest.fixture
def of_weights(make_scheduler: Callable[..., Scheduler]) -> Callable[..., Scheduler]:
    """Makes a scheduler of models by their weights, whose batches hold one item and take one second by unit."""

    def of_weights(**weights: float) -> Scheduler:
        policy, cost = BatchPolicy(1, fixed=0.0), CostModel(fixed=0.0, per_unit=1.0)
        return make_scheduler(**{model: Lane(policy, cost, weight) for model, weight in weights.items()})

    return of_weights


def served(scheduler: Scheduler, count: int, priority: Priority = INTERACTIVE) -> list[str]:
    """The models of the next batches."""
    batches = [scheduler.next_batch(priority, 0.0) for _ in range(count)]
    return [batch.model for batch in batches if batch]


def test_models_come_by_the_arrival_of_their_items_at_first(
    of_weights: Callable[..., Scheduler], make_items: MakeItems
) -> None:
    scheduler = of_weights(a=1, b=1, c=1)
    for now, model in enumerate(["c", "a", "b"]):
        scheduler.add(model, INTERACTIVE, make_items(1), now)

    assert served(scheduler, 3) == ["c", "a", "b"]


def test_models_share_the_time_by_their_weights(of_weights: Callable[..., Scheduler], make_items: MakeItems) -> None:
    scheduler = of_weights(heavy=3, light=1)
    for model in ("light", "heavy"):
        scheduler.add(model, INTERACTIVE, make_items(*[1] * 100), 0)

    assert Counter(served(scheduler, 80)) == {"heavy": 60, "light": 20}


def test_it_is_time_that_is_shared_and_not_batches(of_weights: Callable[..., Scheduler], make_items: MakeItems) -> None:
    scheduler = of_weights(long=1, short=1)
    scheduler.add("long", INTERACTIVE, make_items(*[4] * 100), 0)
    scheduler.add("short", INTERACTIVE, make_items(*[1] * 100), 0)

    assert Counter(served(scheduler, 50)) == {"long": 10, "short": 40}


def test_a_model_that_asked_for_nothing_gets_no_credit_for_it(
    of_weights: Callable[..., Scheduler], make_items: MakeItems
) -> None:
    scheduler = of_weights(idle=1, busy=1)
    scheduler.add("busy", INTERACTIVE, make_items(*[1] * 100), 0)
    served(scheduler, 50)

    scheduler.add("idle", INTERACTIVE, make_items(*[1] * 100), 0)

    assert Counter(served(scheduler, 20)) == {"idle": 10, "busy": 10}


def test_nor_does_it_if_nothing_waits_at_that_moment(
    of_weights: Callable[..., Scheduler], make_items: MakeItems
) -> None:
    scheduler = of_weights(idle=1, busy=1)
    scheduler.add("busy", INTERACTIVE, make_items(*[1] * 50), 0)
    served(scheduler, 50)

    scheduler.add("idle", INTERACTIVE, make_items(*[1] * 100), 0)
    scheduler.add("busy", INTERACTIVE, make_items(*[1] * 100), 0)

    assert 9 <= Counter(served(scheduler, 20))["idle"] <= 11


def test_a_model_that_was_given_much_does_not_pay_for_it_after_a_pause(
    of_weights: Callable[..., Scheduler], make_items: MakeItems
) -> None:
    scheduler = of_weights(a=1, b=1)
    scheduler.add("a", INTERACTIVE, make_items(1000), 0)
    scheduler.add("b", INTERACTIVE, make_items(*[1] * 2000), 0)
    served(scheduler, 1500)

    scheduler.add("a", INTERACTIVE, make_items(*[1] * 100), 0)

    assert 9 <= Counter(served(scheduler, 20))["a"] <= 11


def test_bulk_work_is_shared_apart_from_interactive_work(
    of_weights: Callable[..., Scheduler], make_items: MakeItems
) -> None:
    scheduler = of_weights(a=1, b=1)
    scheduler.add("a", BULK, make_items(*[1] * 100), 0)
    served(scheduler, 100, BULK)
    for model in ("b", "a"):
        scheduler.add(model, INTERACTIVE, make_items(*[1] * 10), 0)

    assert Counter(served(scheduler, 10)) == {"a": 5, "b": 5}
