import asyncio
import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

import numpy as np
import pytest
import pytest_asyncio
from controlled import PATIENCE

from vecserve_server.engine.call import Call, WorkItem
from vecserve_server.engine.errors import EngineError, InferenceFailedError
from vecserve_server.engine.instances import Outcome
from vecserve_server.engine.outcomes import Outcomes, Stored
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.scheduler import Batch

MakeItems = Callable[..., list[WorkItem]]

BEGAN, ENDED = 100.0, 100.1
SOON, LATER = ENDED + 0.003, ENDED + 0.005


def outcome_of(
    items: Sequence[WorkItem],
    vectors: Sequence[float] | None = None,
    error: Exception | None = None,
    began: float = BEGAN,
) -> Outcome:
    """What became of a batch; each vector has one element, 1 if not given."""
    computed = None if error else np.array(vectors or [1.0] * len(items), np.float32)[:, np.newaxis]
    return Outcome(Batch("text", Priority.INTERACTIVE, list(items), ENDED - began), computed, error, began, ENDED)


@pytest.fixture
def settled() -> list[Stored]:
    """What the event loop was told, in order."""
    return []


@pytest_asyncio.fixture
async def outcomes(settled: list[Stored]) -> Outcomes:
    loop = asyncio.get_running_loop()
    outcomes = Outcomes(settled.append, lambda _: loop.call_soon_threadsafe(outcomes.settle_all))
    return outcomes


async def told(settled: list[Stored]) -> list[Outcome]:
    await asyncio.sleep(0)
    return [stored.outcome for stored in settled]


async def test_each_call_gets_its_vectors_normalized_or_as_they_are(outcomes: Outcomes, make_items: MakeItems) -> None:
    one, other = make_items(5, 5), make_items(5, normalized=True)

    outcomes.store(outcome_of([one[1], *other, one[0]], [2.0, -3.0, 4.0]), lambda: math.inf)

    assert [np.frombuffer(row, "<f4").tolist() for row in one[0].call.rows] == [[4.0], [2.0]]
    assert [np.frombuffer(row, "<f4").tolist() for row in other[0].call.rows] == [[-1.0]]


async def test_a_call_is_complete_with_its_last_batch(
    outcomes: Outcomes, settled: list[Stored], make_items: MakeItems
) -> None:
    whole, split = make_items(5, 5), make_items(5, 5)

    outcomes.store(outcome_of([*whole, split[0]]), lambda: math.inf)
    outcomes.store(outcome_of([split[1]]), lambda: math.inf)
    await told(settled)

    assert [stored.complete for stored in settled] == [[whole[0].call], [split[0].call]]


async def test_an_outcome_that_completes_no_call_is_told_with_the_next(
    outcomes: Outcomes, settled: list[Stored], make_items: MakeItems
) -> None:
    items = make_items(5, 5)
    first, last = outcome_of(items[:1]), outcome_of(items[1:])

    outcomes.store(first, lambda: math.inf)
    assert await told(settled) == []

    outcomes.store(last, lambda: math.inf)
    assert await told(settled) == [first, last]


@pytest.mark.parametrize(("next_end", "waits"), [(SOON, True), (LATER, False), (math.inf, False)])
async def test_callers_wait_for_a_batch_that_ends_soon(
    next_end: float, waits: bool, outcomes: Outcomes, settled: list[Stored], make_items: MakeItems
) -> None:
    outcome = outcome_of(make_items(5))

    outcomes.store(outcome, lambda: next_end)

    assert await told(settled) == ([] if waits else [outcome])


async def test_callers_wait_for_no_longer_than_half_of_what_their_batch_took(
    outcomes: Outcomes, settled: list[Stored], make_items: MakeItems
) -> None:
    quick = outcome_of(make_items(5), began=ENDED - 0.005)

    outcomes.store(quick, lambda: SOON)

    assert await told(settled) == [quick]


@pytest.mark.parametrize(("left", "waits"), [(0.105, True), (0.103, False)])
async def test_callers_who_have_little_time_left_wait_for_nobody(
    left: float, waits: bool, outcomes: Outcomes, settled: list[Stored], make_items: MakeItems
) -> None:
    patient, urgent = make_items(5), make_items(5, deadline=ENDED + left)
    outcome = outcome_of([*patient, *urgent])

    outcomes.store(outcome, lambda: SOON)

    assert await told(settled) == ([] if waits else [outcome])


async def test_failures_are_told_at_once(outcomes: Outcomes, settled: list[Stored], make_items: MakeItems) -> None:
    failed = outcome_of(make_items(5, 5)[:1], error=RuntimeError("failed"))
    items = make_items(5, 5, 5)
    useless = outcome_of(items[:2], [1.0, math.nan])

    outcomes.store(failed, lambda: SOON)
    assert await told(settled) == [failed]

    outcomes.store(useless, lambda: SOON)
    assert await told(settled) == [failed, useless]
    assert settled[-1].not_finite == [items[1]]


async def test_nothing_waits_for_more_than_the_next_batch(
    outcomes: Outcomes, settled: list[Stored], make_items: MakeItems
) -> None:
    parts = [outcome_of([item]) for item in make_items(*[5] * 5)]

    for part in parts[:4]:
        outcomes.store(part, lambda: SOON)
        await told(settled)

    assert [stored.outcome for stored in settled] == parts[:4]
    assert [stored.waited for stored in settled] == [True, False, True, False]


async def test_a_batch_that_ends_while_another_decides_to_wait_for_it_finds_it_waiting(
    outcomes: Outcomes, settled: list[Stored], make_items: MakeItems
) -> None:
    with ThreadPoolExecutor(2) as pool:
        awaited: list[Future[None]] = []

        def next_end() -> float:
            awaited.append(pool.submit(outcomes.store, outcome_of(make_items(5)), lambda: math.inf))
            wait(awaited, timeout=0.1)  # as far as it gets meanwhile
            return SOON

        await asyncio.wrap_future(pool.submit(outcomes.store, outcome_of(make_items(5)), next_end))
        await asyncio.wrap_future(awaited[0])

    assert len(await told(settled)) == 2


async def test_an_outcome_with_a_useless_vector_completes_no_call(
    outcomes: Outcomes, settled: list[Stored], make_items: MakeItems
) -> None:
    items = make_items(5, 5)

    outcomes.store(outcome_of(items[:1], [math.inf]), lambda: SOON)
    outcomes.store(outcome_of(items[1:]), lambda: SOON)
    outcomes.settle_all()

    assert [stored.complete for stored in settled] == [[], []]


async def test_calls_that_cannot_be_told_fail_and_do_not_keep_others_waiting(
    make_items: MakeItems, caplog: pytest.LogCaptureFixture
) -> None:
    settled: list[Stored] = []
    ends: list[list[EngineError | None]] = [[], []]

    def settle(stored: Stored) -> None:
        settled.append(stored)
        if len(settled) == 1:
            raise RuntimeError("ours")

    outcomes = Outcomes(settle, lambda _: None)
    for end in ends:
        outcomes.store(outcome_of(make_items(5, 5, on_end=end.append)), lambda: math.inf)

    outcomes.settle_all()

    assert len(settled) == 2
    (error,) = ends[0]
    assert isinstance(error, InferenceFailedError)
    assert str(error.__cause__) == "ours"
    assert ends[1] == []
    assert caplog.messages == ["the calls of a batch of model text were not all told"]


async def test_what_waits_is_settled_when_asked_for(
    outcomes: Outcomes, settled: list[Stored], make_items: MakeItems
) -> None:
    outcome = outcome_of(make_items(5, 5)[:1])
    outcomes.store(outcome, lambda: math.inf)

    outcomes.settle_all()
    outcomes.settle_all()

    assert await told(settled) == [outcome]


async def test_a_batch_whose_vectors_are_lost_has_failed(
    outcomes: Outcomes, settled: list[Stored], make_items: MakeItems
) -> None:
    with pytest.raises(ValueError, match="zip"):
        outcomes.store(outcome_of(make_items(5, 5), [1.0]), lambda: SOON)

    (lost,) = await told(settled)
    assert isinstance(lost.error, ValueError)
    assert settled[0].complete == []


async def test_of_calls_whose_items_are_stored_at_the_same_moment_each_is_complete_once(
    outcomes: Outcomes, settled: list[Stored], make_items: MakeItems
) -> None:
    threads, calls = 4, 50
    items = [make_items(*[5] * threads) for _ in range(calls)]
    together = threading.Barrier(threads)

    def store(index: int) -> None:
        together.wait(PATIENCE)
        for of_call in items:
            outcomes.store(outcome_of([of_call[index]]), lambda: math.inf)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(store, range(threads)))
    outcomes.settle_all()

    complete: list[Call] = [call for stored in settled for call in stored.complete]
    assert len(complete) == calls
    assert set(complete) == {of_call[0].call for of_call in items}
