import gc
import weakref
from collections.abc import Callable

import pytest

from vecserve_server.engine.batching import BatchPolicy
from vecserve_server.engine.call import WorkItem
from vecserve_server.engine.cost import CostModel
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.scheduler import Batch, Lane, Scheduler

BULK, INTERACTIVE = Priority.BULK, Priority.INTERACTIVE

MakeItems = Callable[..., list[WorkItem]]


@pytest.fixture
def scheduler(make_scheduler: Callable[..., Scheduler]) -> Scheduler:
    """Batches of texts have 100 tokens, and 4 tokens of padding cost as much as a run; nothing takes any time."""
    free = CostModel(fixed=0.0, per_unit=0.0)
    return make_scheduler(text=Lane(BatchPolicy(100, fixed=4.0), free), image=Lane(BatchPolicy(4, fixed=0.1), free))


def sizes(batch: Batch | None) -> list[int]:
    assert batch
    return sorted(item.size for item in batch.items)


def alone(batch: Batch | None) -> bool:
    assert batch
    return batch.alone


def drain(scheduler: Scheduler, now: float = 0.0, priority: Priority = INTERACTIVE) -> list[Batch]:
    return list(iter(lambda: scheduler.next_batch(priority, now), None))


def test_nothing_queued_gives_no_batch(scheduler: Scheduler) -> None:
    assert scheduler.next_batch(INTERACTIVE, 0) is None


def test_there_is_work_for_a_priority_until_the_last_batch_is_taken(
    scheduler: Scheduler, make_items: MakeItems
) -> None:
    scheduler.add("text", BULK, make_items(60, 60), 0)

    assert (scheduler.has_work(BULK), scheduler.has_work(INTERACTIVE)) == (True, False)
    scheduler.next_batch(BULK, 0)
    assert scheduler.has_work(BULK)
    scheduler.next_batch(BULK, 0)
    assert not scheduler.has_work(BULK)


def test_a_lone_item_never_waits_for_company(scheduler: Scheduler, make_items: MakeItems) -> None:
    (item,) = make_items(3)
    scheduler.add("text", BULK, [item], 0)

    batch = scheduler.next_batch(BULK, 0)

    assert batch == Batch("text", BULK, [item], 0.0)


def test_a_lone_batch_may_have_all_cores_if_somebody_waits_for_it(scheduler: Scheduler, make_items: MakeItems) -> None:
    scheduler.add("text", INTERACTIVE, make_items(3), 0)
    assert alone(scheduler.next_batch(INTERACTIVE, 0))

    scheduler.add("text", BULK, make_items(3), 0)
    assert not alone(scheduler.next_batch(BULK, 0))


def test_a_batch_beside_which_others_wait_or_run_at_whatever_priority_is_not_alone(
    scheduler: Scheduler, make_items: MakeItems
) -> None:
    scheduler.add("text", BULK, make_items(3), 0)
    scheduler.add("text", INTERACTIVE, make_items(3), 0)

    assert not alone(scheduler.next_batch(INTERACTIVE, 0))

    running = scheduler.next_batch(BULK, 0)
    assert running
    scheduler.add("text", INTERACTIVE, make_items(3), 0)
    assert not alone(scheduler.next_batch(INTERACTIVE, 0, running=[running]))


@pytest.mark.parametrize(("now", "expected"), [(16.9, False), (17.0, True)])
def test_where_batches_ran_beside_each_other_a_moment_ago_more_may_come(
    now: float, expected: bool, make_scheduler: Callable[..., Scheduler], make_items: MakeItems
) -> None:
    """For as long as the next batch takes, 4 s here, no one of them has the cores to itself."""
    scheduler = make_scheduler(text=Lane(BatchPolicy(100, fixed=4.0), CostModel(1.0, 1.0)))
    scheduler.add("text", INTERACTIVE, make_items(10), 0)
    scheduler.next_batch(INTERACTIVE, 2, running=[Batch("text", BULK, make_items(1), 5.0, end=7)])
    scheduler.add("text", INTERACTIVE, make_items(3), 13)

    assert alone(scheduler.next_batch(INTERACTIVE, now)) is expected


def test_the_oldest_item_leads_the_next_batch_however_well_others_fit(
    scheduler: Scheduler, make_items: MakeItems
) -> None:
    scheduler.add("text", INTERACTIVE, make_items(50), 0)
    scheduler.add("text", INTERACTIVE, make_items(*[10] * 9), 1)

    assert [sizes(batch) for batch in drain(scheduler, 2)] == [[50], [10] * 9]


@pytest.mark.parametrize(
    ("other", "end", "taken"),
    [("text", 0.0, 3), ("text", 26.9, 3), ("text", 27.0, 6), ("text", 36.0, 6), ("image", 0.0, 6)],
)
def test_a_batch_leaves_work_for_instances_that_end_well_before_it_at_the_same_model(
    other: str, end: float, taken: int, make_items: MakeItems
) -> None:
    """A batch of all 36 units would take 36 s."""
    lane = Lane(BatchPolicy(100, fixed=1.6), CostModel(fixed=0.0, per_unit=1.0))
    scheduler = Scheduler({("text", INTERACTIVE): lane})
    scheduler.add("text", INTERACTIVE, make_items(*[6] * 6), 0)
    running = [Batch(other, INTERACTIVE, make_items(24), 24.0, other, end)]

    assert sizes(scheduler.next_batch(INTERACTIVE, 0, idle=1, running=running)) == [6] * taken


@pytest.mark.parametrize(
    ("count", "waited", "idle", "taken"), [(6, 11.9, 1, 3), (6, 12.0, 1, 6), (6, 12.0, 2, 2), (11, 22.0, 1, 5)]
)
def test_a_call_that_has_waited_stays_together_if_it_fits_into_a_batch_and_no_other_instance_is_idle(
    count: int, waited: float, idle: int, taken: int, make_items: MakeItems
) -> None:
    """Six items, a full batch has room for them, would take 36 s; another instance soon needs some of them."""
    lane = Lane(BatchPolicy(100, fixed=1.6), CostModel(fixed=0.0, per_unit=1.0))
    scheduler = Scheduler({("text", INTERACTIVE): lane})
    scheduler.add("text", INTERACTIVE, make_items(*[6] * count), 0)
    running = [Batch("text", INTERACTIVE, make_items(24), 24.0, "text", waited)]

    assert sizes(scheduler.next_batch(INTERACTIVE, waited, idle, running)) == [6] * taken


def test_of_the_call_that_leads_only_what_waits_counts(make_items: MakeItems) -> None:
    lane = Lane(BatchPolicy(100, fixed=1.6), CostModel(fixed=0.0, per_unit=1.0))
    scheduler = Scheduler({("text", INTERACTIVE): lane})
    first, second = make_items(*[6] * 11), make_items(6, 6)
    scheduler.add("text", INTERACTIVE, first, 0)
    scheduler.add("text", INTERACTIVE, second, 0)
    scheduler.remove("text", INTERACTIVE, first[:6])
    running = [Batch("text", INTERACTIVE, make_items(24), 24.0, "text", 30)]

    batch = scheduler.next_batch(INTERACTIVE, 30, 1, running)

    assert batch
    assert batch.items == first[6:]


def test_items_nearest_in_size_to_the_oldest_join_it(scheduler: Scheduler, make_items: MakeItems) -> None:
    scheduler.add("text", INTERACTIVE, make_items(20, 3, 21, 40, 19, 20, 4), 0)

    assert sizes(scheduler.next_batch(INTERACTIVE, 0)) == [19, 20, 20, 21]


def test_items_of_one_size_are_served_by_arrival(scheduler: Scheduler, make_items: MakeItems) -> None:
    first, second = make_items(*[40] * 3), make_items(40)
    scheduler.add("text", INTERACTIVE, first, 0)
    scheduler.add("text", INTERACTIVE, second, 1)

    assert [batch.items for batch in drain(scheduler)] == [first[:2], [first[2], *second]]


def test_several_calls_share_a_batch_and_one_call_spans_several(scheduler: Scheduler, make_items: MakeItems) -> None:
    one, two = make_items(*[30] * 4), make_items(*[30] * 2)
    scheduler.add("text", INTERACTIVE, one, 0)
    scheduler.add("text", INTERACTIVE, two, 0)

    assert [batch.items for batch in drain(scheduler)] == [one[:3], [one[3], *two]]


@pytest.mark.parametrize(
    ("size", "count", "most"), [(100, 2, 1), (51, 2, 1), (50, 4, 2), (33, 6, 3), (1, 100, 100), (1, 200, 100)]
)
def test_a_batch_is_full_at_its_padded_size(
    size: int, count: int, most: int, scheduler: Scheduler, make_items: MakeItems
) -> None:
    scheduler.add("text", INTERACTIVE, make_items(*[size] * count), 0)

    assert sizes(scheduler.next_batch(INTERACTIVE, 0)) == [size] * most


def test_an_item_larger_than_a_batch_runs_alone(scheduler: Scheduler, make_items: MakeItems) -> None:
    scheduler.add("text", INTERACTIVE, make_items(101, 101, 1), 0)

    assert [sizes(batch) for batch in drain(scheduler)] == [[101], [101], [1]]


@pytest.mark.parametrize(("queued", "batch"), [([10, 7], [7, 10]), ([10, 6], [10]), ([7, 10], [7, 10]), ([6, 10], [6])])
def test_items_whose_padding_would_cost_most_of_a_run_stay_behind(
    queued: list[int], batch: list[int], scheduler: Scheduler, make_items: MakeItems
) -> None:
    scheduler.add("text", INTERACTIVE, make_items(*queued), 0)

    assert sizes(scheduler.next_batch(INTERACTIVE, 0)) == batch


def test_a_batch_is_not_filled_up_with_what_is_further_away_than_the_first_that_does_not_fit(
    scheduler: Scheduler, make_items: MakeItems
) -> None:
    """Half of the queue has 82 tokens: a text of 22 adds too much padding, one of 23 is too much, and 17 would fit."""
    scheduler.add("text", INTERACTIVE, make_items(20, 20, 20, 22, 23, 17, 41), 0)

    assert sizes(scheduler.next_batch(INTERACTIVE, 0)) == [20, 20, 20]


@pytest.mark.parametrize(("idle", "first"), [(1, 6), (2, 3), (3, 2), (9, 1)])
def test_idle_instances_get_equal_parts_of_the_queue(
    idle: int, first: int, scheduler: Scheduler, make_items: MakeItems
) -> None:
    scheduler.add("text", INTERACTIVE, make_items(*[7] * 6), 0)

    assert sizes(scheduler.next_batch(INTERACTIVE, 0, idle)) == [7] * first


def test_padded_size_counts_every_item_as_the_largest(make_items: MakeItems) -> None:
    batch = Batch("text", BULK, make_items(3, 7, 5), 1.0)

    assert (batch.size, batch.padded_size) == (15, 21)


def test_a_batch_tells_how_long_it_is_predicted_to_run(
    make_scheduler: Callable[..., Scheduler], make_items: MakeItems
) -> None:
    scheduler = make_scheduler(text=Lane(BatchPolicy(100, fixed=4.0), CostModel(1.0, 0.25, correction=2.0)))
    scheduler.add("text", BULK, make_items(8, 6), 0)

    batch = scheduler.next_batch(BULK, 0)

    assert batch
    assert batch.seconds == 2 * (1.0 + 0.25 * 16)


def test_models_never_share_a_batch(scheduler: Scheduler, make_items: MakeItems) -> None:
    scheduler.add("image", INTERACTIVE, make_items(1), 0)
    scheduler.add("text", INTERACTIVE, make_items(1), 0)

    assert sorted(batch.model for batch in drain(scheduler)) == ["image", "text"]


def test_priorities_never_share_a_batch(scheduler: Scheduler, make_items: MakeItems) -> None:
    bulk, interactive = make_items(1), make_items(1)
    scheduler.add("text", BULK, bulk, 0)
    scheduler.add("text", INTERACTIVE, interactive, 0)

    assert [batch.items for batch in drain(scheduler, priority=INTERACTIVE)] == [interactive]
    assert [batch.items for batch in drain(scheduler, priority=BULK)] == [bulk]


def test_removed_items_are_returned_if_they_were_there_and_leave_the_others(
    scheduler: Scheduler, make_items: MakeItems
) -> None:
    taken, (one, two, three) = make_items(90), make_items(90, 91, 92)
    scheduler.add("text", INTERACTIVE, [*taken, one, two, three], 0)
    scheduler.next_batch(INTERACTIVE, 0)

    assert scheduler.remove("text", INTERACTIVE, [*taken, one, three]) == [one, three]
    assert scheduler.remove("text", INTERACTIVE, [one, three]) == []
    assert scheduler.remove("text", BULK, [two]) == []
    assert [batch.items for batch in drain(scheduler)] == [[two]]


def test_what_waits_is_counted_in_full_batches_of_its_priority(
    make_scheduler: Callable[..., Scheduler], make_items: MakeItems
) -> None:
    text = Lane(BatchPolicy(100, fixed=4.0), CostModel(fixed=1.0, per_unit=0.25))
    image = Lane(BatchPolicy(4, fixed=1.0), CostModel(fixed=2.0, per_unit=2.0, correction=0.5))
    scheduler = make_scheduler(text=text, image=image)
    assert scheduler.waiting_seconds(BULK) == 0

    scheduler.add("text", BULK, make_items(30, 20), 0)
    scheduler.add("image", BULK, make_items(1, 1), 0)

    assert scheduler.waiting_seconds(BULK) == pytest.approx(50 / 100 * 26 + 2 / 4 * 5)
    assert scheduler.waiting_seconds(INTERACTIVE) == 0
    drain(scheduler, priority=BULK)
    assert scheduler.waiting_seconds(BULK) == 0


def test_taking_all_empties_the_queue_and_tells_models_apart(scheduler: Scheduler, make_items: MakeItems) -> None:
    texts, bulk, images = make_items(30, 90, 29, 91), make_items(30), make_items(1)
    scheduler.add("text", INTERACTIVE, texts, 0)
    scheduler.add("text", BULK, bulk, 0)
    scheduler.add("image", INTERACTIVE, images, 0)
    taken = [scheduler.next_batch(INTERACTIVE, 0) for _ in range(2)]

    left = scheduler.take_all()

    assert [batch.items for batch in taken if batch] == [images, [texts[0], texts[2]]]
    assert left == {"text": [texts[1], texts[3], *bulk]}
    assert scheduler.take_all() == {}
    assert drain(scheduler) == drain(scheduler, priority=BULK) == []


def test_items_left_behind_do_not_come_back_with_later_ones(scheduler: Scheduler, make_items: MakeItems) -> None:
    scheduler.add("text", INTERACTIVE, make_items(30, 31, 90), 0)
    scheduler.take_all()
    later = make_items(30)

    scheduler.add("text", INTERACTIVE, later, 1)

    assert [batch.items for batch in drain(scheduler, 1)] == [later]


def test_a_drained_scheduler_holds_on_to_nothing(scheduler: Scheduler, make_items: MakeItems) -> None:
    items = [*make_items(20, 3, 21, 40, 19), *make_items(20, 4, deadline=1), *make_items(20, 5), *make_items(20)]
    items[-3].call.abandon()
    payloads = [weakref.ref(item.payload) for item in items]
    scheduler.add("text", INTERACTIVE, items, 0)
    scheduler.remove("text", INTERACTIVE, items[-1:])
    del items

    drain(scheduler, now=2)
    scheduler.take_dropped()
    gc.collect()

    assert [payload() for payload in payloads] == [None] * 10
