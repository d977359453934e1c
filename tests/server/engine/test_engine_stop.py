import asyncio
import threading
from collections.abc import Sequence

import pytest
from controlled import MUCH, PATIENCE, Begin, GatedModel, Recorder

from vecserve_server.engine.call import WorkItem
from vecserve_server.engine.engine import Engine
from vecserve_server.engine.errors import NotReadyError
from vecserve_server.engine.observer import Drop
from vecserve_server.engine.scheduler import Scheduler
from vecserve_server.engine.terms import Terms
from vecserve_server.models.inputs import TextInputs


async def test_an_engine_is_idle_until_a_call_comes(engine: Engine) -> None:
    await engine.idle()


async def test_an_engine_is_idle_again_when_its_last_call_has_ended(
    engine: Engine, begin: Begin, model: GatedModel
) -> None:
    model.running.close()
    first, second = await begin("cat"), await begin("mat")
    idle = asyncio.create_task(engine.idle())

    second.cancel()
    await asyncio.wait([second])
    await model.running.reached()
    assert not idle.done()

    model.running.open()
    await idle
    assert first.done()


@pytest.fixture
def emptied(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when the queue was emptied for good."""
    emptied = threading.Event()
    take_all = Scheduler.take_all

    def telling(scheduler: Scheduler) -> dict[str, list[WorkItem]]:
        left = take_all(scheduler)
        emptied.set()
        return left

    monkeypatch.setattr(Scheduler, "take_all", telling)
    return emptied


async def test_stopping_finishes_what_runs_and_fails_what_waits(
    engine: Engine, begin: Begin, model: GatedModel, recorder: Recorder, emptied: threading.Event
) -> None:
    model.running.close()
    runs = await begin("cat")
    await model.running.reached()
    waits = await begin("mat")

    stopping = asyncio.create_task(engine.stop())
    assert await asyncio.to_thread(emptied.wait, PATIENCE)
    model.running.open()
    await stopping

    assert (await runs).vectors.shape == (1, 8)
    with pytest.raises(NotReadyError):
        await waits
    assert len(model.batches) == 1
    assert +recorder.drops == {Drop.STOPPED: 1}
    await engine.idle()


@pytest.mark.parametrize("texts", [("cat",), MUCH], ids=["inline", "on a thread"])
async def test_a_stopped_engine_refuses_calls_as_not_ready(
    engine: Engine, model: GatedModel, texts: Sequence[str]
) -> None:
    await engine.stop()

    with pytest.raises(NotReadyError):
        await engine.embed_texts(model, TextInputs(texts), Terms())
    await engine.idle()


async def test_calls_still_in_preprocessing_fail_as_not_ready(engine: Engine, begin: Begin, model: GatedModel) -> None:
    model.preparing.close()
    on_the_thread = await begin(*MUCH)
    behind_it = await begin(*MUCH)
    await model.preparing.reached()

    await engine.stop()
    model.preparing.open()

    for call in (on_the_thread, behind_it):
        with pytest.raises(NotReadyError):
            await call
    await engine.idle()


async def test_stopping_twice_is_harmless(engine: Engine) -> None:
    await engine.stop()
    await engine.stop()
