from collections.abc import Callable

import pytest

from vecserve_server.engine.batching import BatchPolicy
from vecserve_server.engine.call import WorkItem
from vecserve_server.engine.cost import CostModel
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.scheduler import Batch, Lane, Scheduler

INTERACTIVE = Priority.INTERACTIVE

MakeItems = Callable[..., list[WorkItem]]


@pytest.fixture
def scheduler(make_scheduler: Callable[..., Scheduler]) -> Scheduler:
    """A batch of items of 10 tokens takes one second, and one more for each."""
    return make_scheduler(text=Lane(BatchPolicy(1000, fixed=1000.0), CostModel(fixed=1.0, per_unit=0.1)))


def drain(scheduler: Scheduler, now: float = 0.0) -> list[Batch]:
    return list(iter(lambda: scheduler.next_batch(INTERACTIVE, now), None))


def dropped(scheduler: Scheduler) -> list[WorkItem]:
    return scheduler.take_dropped().get("text", [])


def test_items_of_abandoned_calls_are_dropped(scheduler: Scheduler, make_items: MakeItems) -> None:
    oldest, neighbour, live = make_items(10), make_items(10), make_items(10)
    scheduler.add("text", INTERACTIVE, [*oldest, *live, *neighbour], 0)
    oldest[0].call.abandon()
    neighbour[0].call.abandon()

    assert [batch.items for batch in drain(scheduler)] == [live]
    assert dropped(scheduler) == [*oldest, *neighbour]


def test_dropped_items_are_told_once_and_not_computed(scheduler: Scheduler, make_items: MakeItems) -> None:
    late, live, later = make_items(10, 10, deadline=5), make_items(10), make_items(10, deadline=6)
    scheduler.add("text", INTERACTIVE, [*late, *live, *later], 0)

    assert [batch.items for batch in drain(scheduler, now=6)] == [live]
    assert dropped(scheduler) == [*late, *later]
    assert drain(scheduler, now=7) == []
    assert dropped(scheduler) == []


@pytest.mark.parametrize(("deadline", "computed"), [(2.51, True), (2.5, False), (0.5, False)])
def test_an_item_that_will_hardly_make_its_deadline_is_dropped_while_another_waits(
    deadline: float, computed: bool, scheduler: Scheduler, make_items: MakeItems
) -> None:
    """It takes 2 s, a run may well take a fifth longer than predicted, and a 25th of its time is not counted on."""
    urgent, patient = make_items(10, deadline=deadline), make_items(10)
    scheduler.add("text", INTERACTIVE, [*urgent, *patient], 0)

    batches = [batch.items for batch in drain(scheduler)]

    assert batches == ([urgent, patient] if computed else [patient])
    assert dropped(scheduler) == ([] if computed else urgent)


@pytest.mark.parametrize(
    ("arrival", "now", "computed"),
    [
        (3.5, 4.999, True),
        (3.5, 5.0, False),
        (2.0, 3.999, True),
        (2.0, 4.001, False),
        (0.0, 2.39, True),
        (0.0, 2.41, False),
    ],
)
def test_an_item_alone_that_has_not_waited_for_long_is_computed_until_its_deadline_has_passed(
    arrival: float, now: float, computed: bool, scheduler: Scheduler, make_items: MakeItems
) -> None:
    """One that has waited for as long as it takes, 2 s, is computed only if it will be in time."""
    items = make_items(10, deadline=5)
    scheduler.add("text", INTERACTIVE, items, arrival)

    assert [batch.items for batch in drain(scheduler, now)] == ([items] if computed else [])
    assert dropped(scheduler) == ([] if computed else items)


def test_a_wrong_prediction_does_not_drop_everything(scheduler: Scheduler, make_items: MakeItems) -> None:
    items = make_items(*[10] * 5, deadline=1)
    scheduler.add("text", INTERACTIVE, items, 0)

    assert [batch.items for batch in drain(scheduler)] == [items[-1:]]


@pytest.mark.parametrize("urgent", [0, 1, 3])
def test_a_batch_is_not_grown_past_the_deadline_of_an_item_in_it(
    urgent: int, scheduler: Scheduler, make_items: MakeItems
) -> None:
    items = [make_items(10, deadline=5 if place == urgent else 1000)[0] for place in range(10)]
    scheduler.add("text", INTERACTIVE, items, 0)

    (batch,) = [batch for batch in drain(scheduler) if items[urgent] in batch.items]

    assert batch.seconds <= 5


@pytest.fixture
def odd_one(make_scheduler: Callable[..., Scheduler], make_items: MakeItems) -> Callable[[float], Batch]:
    """Makes the first batch of a queue whose second item fits no other, takes 2.3 seconds and has a deadline."""

    def odd_one(deadline: float) -> Batch:
        scheduler = make_scheduler(text=Lane(BatchPolicy(1000, fixed=1.6), CostModel(fixed=1.0, per_unit=0.1)))
        items = [*make_items(10), *make_items(13, deadline=deadline), *make_items(10, 10, 10)]
        scheduler.add("text", INTERACTIVE, items, 0)
        batch = scheduler.next_batch(INTERACTIVE, 0)
        assert batch
        return batch

    return odd_one


@pytest.mark.parametrize("deadline", [5.5, 6.5, 7.5, 8.5])
def test_a_batch_leaves_time_for_the_oldest_item_that_stays_behind(
    deadline: float, odd_one: Callable[[float], Batch]
) -> None:
    assert odd_one(deadline).seconds + 2.3 <= deadline


@pytest.mark.parametrize("deadline", [3.0, 4.0, 100.0])
def test_a_batch_is_not_kept_small_for_an_item_that_is_late_or_early_anyway(
    deadline: float, odd_one: Callable[[float], Batch]
) -> None:
    assert len(odd_one(deadline).items) == 4


def test_a_deadline_that_is_far_away_does_not_make_batches_smaller(scheduler: Scheduler, make_items: MakeItems) -> None:
    items = make_items(*[10] * 10, deadline=100)
    scheduler.add("text", INTERACTIVE, items, 0)

    assert [batch.items for batch in drain(scheduler)] == [items]
