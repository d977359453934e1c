"""A full queue: who is refused, who waits for room, and who comes in all the same."""

import asyncio
import contextlib
import gc
import math
import re

import pytest
import pytest_asyncio
from controlled import MUCH, Begin, Clock, GatedModel, Recorder

from vecserve_server.engine.admission import DeadlineUnmetError
from vecserve_server.engine.engine import Embeddings, Engine
from vecserve_server.engine.errors import NotReadyError, OverloadedError
from vecserve_server.engine.observer import Refusal
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.terms import Terms
from vecserve_server.models.inputs import TextInputs

Running = asyncio.Task[Embeddings]


@pytest.fixture(autouse=True)
def slow_runs(engine: Engine, model: GatedModel) -> None:
    """Every batch of texts is predicted to take 12 seconds; the queue is full at 10."""
    for lane in engine.served(model).lanes.values():
        lane.cost.fixed = 12.0


@pytest_asyncio.fixture
async def running(engine: Engine, model: GatedModel, begin: Begin) -> Running:
    """An interactive call that fills the queue, until `model.running` opens."""
    model.running.close()
    call = await begin("world")
    await model.running.reached()
    return call


async def test_an_idle_engine_takes_what_is_predicted_to_take_too_long(begin: Begin, clock: Clock) -> None:
    assert (await (await begin("cat", deadline=clock() + 1))).vectors.shape == (1, 8)


async def test_a_call_is_refused_when_the_queue_is_full(
    running: Running, begin: Begin, model: GatedModel, recorder: Recorder
) -> None:
    with pytest.raises(OverloadedError, match=r"the queue is full: the work would wait 12\.00 s") as refused:
        await (await begin("cat"))

    assert refused.value.retry_after == pytest.approx(2.0)
    assert recorder.refusals == {Refusal.QUEUE_FULL: 1}
    assert recorder.fruitless == [0.0]
    assert model.prepared == [1], "a refused call was tokenized"


@pytest.mark.parametrize("waits", [True, False])
async def test_a_call_whose_deadline_cannot_be_met_is_refused_at_once(
    running: Running, begin: Begin, clock: Clock, recorder: Recorder, waits: bool
) -> None:
    with pytest.raises(DeadlineUnmetError):
        await (await begin("cat", deadline=clock() + 20, waits_for_room=waits))

    assert recorder.refusals == {Refusal.DEADLINE: 1}


async def test_a_call_that_waits_for_room_comes_in_when_there_is_some(
    running: Running, begin: Begin, model: GatedModel, recorder: Recorder
) -> None:
    call = await begin("cat", waits_for_room=True)
    assert model.prepared == [1], "it was let in too early"

    model.running.open()

    assert (await call).vectors.shape == (1, 8)
    assert not recorder.refusals


async def test_calls_wait_for_room_in_the_order_they_came(running: Running, begin: Begin, model: GatedModel) -> None:
    calls = [await begin(*["cat"] * count, waits_for_room=True) for count in (2, 3, 4)]

    model.running.open()
    await asyncio.gather(running, *calls)

    assert model.prepared == [1, 2, 3, 4]


async def test_a_call_that_is_cancelled_while_it_waits_for_room_lets_the_next_one_in(
    running: Running, begin: Begin, engine: Engine, model: GatedModel
) -> None:
    first, second = [await begin("cat", waits_for_room=True) for _ in range(2)]

    first.cancel()
    model.running.open()

    assert (await second).vectors.shape == (1, 8)
    assert first.cancelled()
    await engine.idle()


async def test_a_stopping_engine_ends_the_wait_for_room(begin: Begin, engine: Engine, model: GatedModel) -> None:
    model.preparing.close()
    preparing = await begin(*MUCH)
    await model.preparing.reached()
    calls = [await begin("cat", waits_for_room=True) for _ in range(3)]

    await engine.stop()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)

    assert {type(outcome) for outcome in outcomes} == {NotReadyError}
    model.preparing.open()
    with pytest.raises(NotReadyError):
        await preparing
    await engine.idle()


async def test_interactive_calls_wait_for_room_in_a_line_of_their_own(
    running: Running, begin: Begin, model: GatedModel
) -> None:
    model.preparing.close()
    preparing = await begin(*MUCH, priority=Priority.BULK)
    await model.preparing.reached()
    bulk = await begin("cat", priority=Priority.BULK, waits_for_room=True)
    interactive = await begin("cat", waits_for_room=True)

    model.running.open()
    await interactive
    assert not bulk.done()

    model.preparing.open()
    await asyncio.gather(running, preparing, bulk)


@pytest.mark.parametrize(("is_faster_alone", "wait"), [(False, "30.80"), (True, "32.00")])
async def test_what_the_event_loop_lags_behind_counts_as_waiting(
    is_faster_alone: bool,
    wait: str,
    begin: Begin,
    model: GatedModel,
    clock: Clock,
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """20 s, and 12 for what runs: corrected by the first run, unless that had more threads than others will."""
    model.is_faster_alone = is_faster_alone

    def hold_up(*args: object, **kwargs: object) -> None:
        clock.now += 20

    with monkeypatch.context() as busy:
        busy.setattr(recorder, "ran", hold_up)  # after the run has ended, and before the loop learns of it
        await (await begin("world"))
    model.running.close()
    running = await begin("world")
    await model.running.reached()

    with pytest.raises(OverloadedError, match=f"the work would wait {re.escape(wait)} s"):
        await (await begin("cat"))

    model.running.open()
    await running


async def test_that_a_part_of_a_call_is_told_with_the_next_does_not_count_as_waiting(
    begin: Begin, model: GatedModel, clock: Clock, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    durations = iter([20.0])

    def take_time(*args: object, **kwargs: object) -> None:
        clock.now += next(durations, 0.0)

    with monkeypatch.context() as slow:
        slow.setattr(recorder, "ran", take_time)
        await (await begin(*["cat " * 60] * 5))
    assert len(model.batches) == 2
    model.running.close()
    running = await begin("world")
    await model.running.reached()

    waiting = await begin("cat")

    assert not recorder.refusals
    model.running.open()
    await asyncio.gather(running, waiting)


async def test_work_that_is_being_preprocessed_counts_as_queued(
    begin: Begin, model: GatedModel, recorder: Recorder
) -> None:
    model.preparing.close()
    preparing = await begin(*MUCH)
    await model.preparing.reached()

    with pytest.raises(OverloadedError):
        await (await begin("cat"))
    model.preparing.open()
    await preparing

    assert (await (await begin("cat"))).vectors.shape == (1, 8)


async def test_work_that_came_in_the_same_round_counts_as_queued(engine: Engine, model: GatedModel) -> None:
    for lane in engine.served(model).lanes.values():
        lane.cost.fixed, lane.cost.per_unit = 0.0, 12.0
    calls = [engine.embed_texts(model, TextInputs(["cat"]), Terms()) for _ in range(2)]

    first, second = await asyncio.gather(*calls, return_exceptions=True)

    assert not isinstance(first, BaseException)
    assert isinstance(second, OverloadedError)


async def test_bulk_work_that_is_being_preprocessed_does_not_count_for_interactive_calls(
    begin: Begin, model: GatedModel, clock: Clock
) -> None:
    model.preparing.close()
    bulk = await begin(*MUCH, priority=Priority.BULK)
    await model.preparing.reached()

    assert (await (await begin("cat", deadline=clock() + 1))).vectors.shape == (1, 8)

    model.preparing.open()
    await bulk


async def test_a_call_can_be_refused_before_anything_is_known_of_it(
    running: Running, engine: Engine, recorder: Recorder
) -> None:
    assert engine.refusal(Priority.BULK, 0.0) is None  # it would begin at once, beside what runs
    refused = engine.refusal(Priority.INTERACTIVE, math.inf)
    assert refused
    assert refused.retry_after == pytest.approx(2.0)
    assert isinstance(engine.refusal(Priority.INTERACTIVE, 20.0), DeadlineUnmetError)
    assert recorder.refusals == {Refusal.QUEUE_FULL: 1, Refusal.DEADLINE: 1}


async def test_an_idle_engine_refuses_nothing_beforehand(engine: Engine, recorder: Recorder) -> None:
    assert engine.refusal(Priority.INTERACTIVE, 0.0, coming=1000) is None
    assert recorder.refusals == {}


async def test_calls_on_their_way_count_as_what_the_latest_added_to_the_queue(
    engine: Engine, model: GatedModel, begin: Begin
) -> None:
    for lane in engine.served(model).lanes.values():
        lane.cost.fixed, lane.cost.per_unit = 3.0, 0.0  # of a full batch of 256 tokens as well: each text has 3
    model.running.close()
    call = await begin("world")
    await model.running.reached()

    full = engine.served(model).lanes[Priority.INTERACTIVE].policy.full
    most = int((10 - 3) / (3 * 3 / full))
    assert engine.refusal(Priority.INTERACTIVE, math.inf, coming=most) is None
    assert engine.refusal(Priority.INTERACTIVE, math.inf, coming=most + 1) is not None

    model.running.open()
    await call


def errors() -> list[OverloadedError]:
    return [each for each in gc.get_objects() if type(each) is OverloadedError]


async def test_a_refusal_leaves_nothing_to_the_garbage_collector(running: Running, begin: Begin) -> None:
    gc.collect()
    gc.disable()
    before = errors()
    try:
        with contextlib.suppress(OverloadedError):
            await (await begin("cat"))
        assert len(errors()) == len(before)
    finally:
        gc.enable()
