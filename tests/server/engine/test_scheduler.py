import gc
import weakref
from collections.abc import Callable

import pytest

from vecserve_server.engine.scheduler import Batch, BatchLimits, Scheduler, WorkItem

MakeItems = Callable[..., list[WorkItem]]


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler({"text": BatchLimits(100, padding=4), "image": BatchLimits(4)})


def sizes(batch: Batch | None) -> list[int]:
    assert batch
    return sorted(item.size for item in batch.items)


def drain(scheduler: Scheduler, now: float = 0.0) -> list[Batch]:
    return list(iter(lambda: scheduler.next_batch(now), None))


def test_nothing_queued_gives_no_batch(scheduler: Scheduler) -> None:
    assert scheduler.next_batch(0) is None


def test_a_lone_item_never_waits_for_company(scheduler: Scheduler, make_items: MakeItems) -> None:
    (item,) = make_items(3)
    scheduler.add("text", [item], 0)

    batch = scheduler.next_batch(0)

    assert batch
    assert (batch.model, batch.items) == ("text", [item])


def test_the_oldest_item_is_in_the_next_batch_however_well_others_fit(
    scheduler: Scheduler, make_items: MakeItems
) -> None:
    scheduler.add("text", make_items(50), 0)
    scheduler.add("text", make_items(*[10] * 10), 1)

    assert sizes(scheduler.next_batch(2)) == [50]
    assert sizes(scheduler.next_batch(2)) == [10] * 10


def test_items_nearest_in_size_to_the_oldest_join_it(scheduler: Scheduler, make_items: MakeItems) -> None:
    scheduler.add("text", make_items(20, 3, 21, 40, 19, 20, 4), 0)

    assert sizes(scheduler.next_batch(0)) == [19, 20, 20, 21]


def test_items_of_one_size_are_served_by_arrival(scheduler: Scheduler, make_items: MakeItems) -> None:
    first, second = make_items(*[40] * 3), make_items(40)
    scheduler.add("text", first, 0)
    scheduler.add("text", second, 1)

    assert [batch.items for batch in drain(scheduler)] == [first[:2], [first[2], *second]]


def test_several_calls_share_a_batch_and_one_call_spans_several(scheduler: Scheduler, make_items: MakeItems) -> None:
    one, two = make_items(*[30] * 4), make_items(*[30] * 2)
    scheduler.add("text", one, 0)
    scheduler.add("text", two, 0)

    assert [batch.items for batch in drain(scheduler)] == [one[:3], [one[3], *two]]


@pytest.mark.parametrize(("size", "count", "most"), [(100, 2, 1), (51, 2, 1), (50, 3, 2), (33, 4, 3), (1, 101, 100)])
def test_a_batch_is_full_at_its_padded_size(
    size: int, count: int, most: int, scheduler: Scheduler, make_items: MakeItems
) -> None:
    scheduler.add("text", make_items(*[size] * count), 0)

    assert sizes(scheduler.next_batch(0)) == [size] * most


def test_an_item_larger_than_a_batch_runs_alone(scheduler: Scheduler, make_items: MakeItems) -> None:
    scheduler.add("text", make_items(101, 101, 1), 0)

    assert [sizes(batch) for batch in drain(scheduler)] == [[101], [101], [1]]


@pytest.mark.parametrize(
    ("limits", "queued", "batch"),
    [
        (BatchLimits(1000, padding=4, padding_share=0), [10, 6], [6, 10]),
        (BatchLimits(1000, padding=4, padding_share=0), [10, 5], [10]),
        (BatchLimits(1000, padding=0, padding_share=0.1), [10, 8], [8, 10]),
        (BatchLimits(1000, padding=0, padding_share=0.1), [10, 7], [10]),
        (BatchLimits(1000, padding=0, padding_share=0), [10, 9], [10]),
    ],
)
def test_padding_is_bounded_absolutely_or_as_a_share(
    limits: BatchLimits, queued: list[int], batch: list[int], make_items: MakeItems
) -> None:
    scheduler = Scheduler({"text": limits})
    scheduler.add("text", make_items(*queued), 0)

    assert sizes(scheduler.next_batch(0)) == batch


def test_padded_size_counts_every_item_as_the_largest(make_items: MakeItems) -> None:
    assert Batch("text", make_items(3, 7, 5)).padded_size == 21


def test_models_are_served_in_the_order_of_their_oldest_items(scheduler: Scheduler, make_items: MakeItems) -> None:
    for now, model in enumerate(["image", "text", "image"]):
        scheduler.add(model, make_items(*[1] * 4) if model == "image" else make_items(100), now)

    assert [batch.model for batch in drain(scheduler)] == ["image", "text", "image"]


def test_models_never_share_a_batch(scheduler: Scheduler, make_items: MakeItems) -> None:
    scheduler.add("image", make_items(1), 0)
    scheduler.add("text", make_items(1), 0)

    assert sorted(batch.model for batch in drain(scheduler)) == ["image", "text"]


def test_items_of_abandoned_calls_are_dropped_in_silence(scheduler: Scheduler, make_items: MakeItems) -> None:
    oldest, neighbour, live = make_items(10), make_items(10), make_items(10)
    for items in (oldest, live, neighbour):
        scheduler.add("text", items, 0)
    oldest[0].call.abandon()
    neighbour[0].call.abandon()

    assert [batch.items for batch in drain(scheduler)] == [live]
    assert scheduler.take_expired() == []


def test_expired_items_are_reported_once_and_not_computed(scheduler: Scheduler, make_items: MakeItems) -> None:
    late, live, later = make_items(10, 10, deadline=5), make_items(10), make_items(10, deadline=6)
    for items in (late, live, later):
        scheduler.add("text", items, 0)

    assert [batch.items for batch in drain(scheduler, now=6)] == [live]
    assert scheduler.take_expired() == [*late, *later]
    assert drain(scheduler, now=7) == []
    assert scheduler.take_expired() == []


@pytest.mark.parametrize(("now", "computed"), [(4.999, True), (5.0, False)])
def test_an_item_expires_at_its_deadline(
    now: float, computed: bool, scheduler: Scheduler, make_items: MakeItems
) -> None:
    scheduler.add("text", make_items(10, deadline=5), 0)

    assert bool(scheduler.next_batch(now)) is computed
    assert bool(scheduler.take_expired()) is not computed


def test_taking_all_empties_the_queue_of_every_model(scheduler: Scheduler, make_items: MakeItems) -> None:
    texts, images = make_items(30, 90, 29, 91), make_items(1)
    scheduler.add("text", texts, 0)
    scheduler.add("image", images, 0)
    taken = scheduler.next_batch(0)

    assert taken
    assert taken.items == [texts[0], texts[2]]
    assert scheduler.take_all() == [texts[1], texts[3], *images]
    assert scheduler.take_all() == []
    assert scheduler.next_batch(0) is None


def test_items_left_behind_do_not_come_back_with_later_ones(scheduler: Scheduler, make_items: MakeItems) -> None:
    scheduler.add("text", make_items(30, 31, 90), 0)
    scheduler.take_all()
    later = make_items(30)

    scheduler.add("text", later, 1)

    assert [batch.items for batch in drain(scheduler, 1)] == [later]


def test_a_drained_scheduler_holds_on_to_nothing(scheduler: Scheduler, make_items: MakeItems) -> None:
    items = [*make_items(20, 3, 21, 40, 19), *make_items(20, 4, deadline=1), *make_items(20, 5)]
    items[-1].call.abandon()
    payloads = [weakref.ref(item.payload) for item in items]
    scheduler.add("text", items, 0)
    del items

    drain(scheduler, now=2)
    scheduler.take_expired()
    gc.collect()

    assert [payload() for payload in payloads] == [None] * 9
