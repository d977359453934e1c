"""What the engine tells its observer: batches soon after their calls have ended, and before it has stopped."""

import asyncio

import numpy as np
import pytest
from controlled import Begin, Clock, GatedModel, Recorder

from vecserve_server.engine.call import Call, WorkItem
from vecserve_server.engine.engine import Engine
from vecserve_server.engine.errors import ExpiredError, InferenceFailedError
from vecserve_server.engine.observer import Drop, Observers, Refusal
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.scheduler import Batch
from vecserve_server.engine.timings import Timings
from vecserve_server.models.inputs import InvalidItemsError


async def test_computed_inputs_are_told_by_batch(
    engine: Engine, begin: Begin, model: GatedModel, recorder: Recorder
) -> None:
    model.running.close()
    first = await begin("world")
    await model.running.reached()
    others = [await begin("cat"), await begin("mat")]
    model.running.open()
    await asyncio.gather(first, *others)
    await engine.stop()

    assert [(batch.model, batch.priority, len(batch.items)) for batch in recorder.batches] == [
        ("tiny-text", Priority.INTERACTIVE, 1),
        ("tiny-text", Priority.INTERACTIVE, 2),
    ]
    assert (recorder.computed, recorder.failed, recorder.late) == (3, 0, 0)
    assert not +recorder.drops


async def test_calls_that_were_answered_are_told_with_their_timings(
    engine: Engine, begin: Begin, model: GatedModel, clock: Clock, recorder: Recorder
) -> None:
    model.running.close()
    before = await begin("world")
    await model.running.reached()
    call = await begin("cat")
    clock.now += 2
    model.running.open()
    await before
    result = await call

    assert recorder.timings[-1] == result.timings
    assert (result.timings.queue, result.timings.total) == (2.0, 2.0)
    assert (len(recorder.timings), recorder.fruitless) == (2, [])


async def test_calls_that_got_nothing_are_told_with_the_time_they_took(
    engine: Engine, begin: Begin, model: GatedModel, clock: Clock, recorder: Recorder
) -> None:
    with pytest.raises(InvalidItemsError):
        await (await begin(""))
    with pytest.raises(InferenceFailedError):
        await (await begin("the crash"))
    model.running.close()
    running = await begin("world")
    await model.running.reached()
    clock.now += 3
    running.cancel()
    await asyncio.wait([running])
    model.running.open()
    await engine.stop()

    assert recorder.fruitless == [0.0, 0.0, 3.0]
    assert recorder.timings == []


def test_several_observers_are_told_of_everything(recorder: Recorder) -> None:
    call = Call([b""] * 2, lambda error: None)
    batch = Batch("tiny-text", Priority.BULK, [WorkItem(call, index, np.zeros(3), 3) for index in range(2)], 1.0)
    second = Recorder()
    both = Observers([recorder, second])

    both.refused("tiny-text", Refusal.DEADLINE)
    both.dropped("tiny-text", Drop.EXPIRED, 3)
    both.ran(batch, 1.5, 1, failed=True)
    both.answered("tiny-text", Timings(1, 2, 3, 4))
    both.unanswered("tiny-text", 0.5)

    for told in (recorder, second):
        assert (told.refusals, told.drops) == ({Refusal.DEADLINE: 1}, {Drop.EXPIRED: 3})
        assert (told.batches, told.failed, told.late) == ([batch], 2, 1)
        assert (told.timings, told.fruitless) == ([Timings(1, 2, 3, 4)], [0.5])


async def test_inputs_of_a_run_that_failed_are_told_as_failed(engine: Engine, begin: Begin, recorder: Recorder) -> None:
    with pytest.raises(InferenceFailedError):
        await (await begin("the crash"))
    await engine.stop()

    assert (recorder.computed, recorder.failed) == (0, 1)


async def test_inputs_computed_after_their_deadline_are_told_as_late(
    engine: Engine, begin: Begin, model: GatedModel, clock: Clock, recorder: Recorder
) -> None:
    model.running.close()
    call = await begin("cat", deadline=clock() + 1)
    await model.running.reached()
    clock.now += 2
    model.running.open()
    await call
    await engine.stop()

    assert (recorder.computed, recorder.late) == (1, 1)


async def test_an_observer_that_fails_fails_the_calls_of_the_batch_and_no_other(
    begin: Begin, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise ValueError("cannot count")

    with monkeypatch.context() as failing:
        failing.setattr(recorder, "ran", fail)
        with pytest.raises(InferenceFailedError):
            await (await begin("cat"))

    assert (await (await begin("cat"))).vectors.shape == (1, 8)


async def test_queued_inputs_of_a_cancelled_call_are_withdrawn_and_counted(
    engine: Engine, begin: Begin, model: GatedModel, recorder: Recorder
) -> None:
    model.running.close()
    before = await begin("world")
    await model.running.reached()
    cancelled = [await begin("hello"), await begin("mat")]

    for call in cancelled:
        call.cancel()
    await asyncio.wait(cancelled)

    assert recorder.drops == {Drop.CANCELLED: 2}
    model.running.open()
    await before
    await engine.stop()
    assert recorder.computed == 1


async def test_inputs_whose_deadline_passes_in_the_queue_are_told_as_expired(
    begin: Begin, model: GatedModel, clock: Clock, recorder: Recorder
) -> None:
    model.running.close()
    before = await begin("world")
    await model.running.reached()
    late = [await begin("cat", deadline=clock() + 1), await begin("mat", deadline=clock() + 1)]
    clock.now += 1
    model.running.open()

    for call in late:
        with pytest.raises(ExpiredError):
            await call
    await before
    assert +recorder.drops == {Drop.EXPIRED: 2}


async def test_inputs_that_were_not_computed_are_not_late(
    begin: Begin, model: GatedModel, clock: Clock, recorder: Recorder
) -> None:
    model.running.close()
    call = await begin("crash", deadline=clock() + 1)
    await model.running.reached()
    clock.now += 2
    model.running.open()
    with pytest.raises(InferenceFailedError):
        await call

    assert (recorder.failed, recorder.late) == (1, 0)
