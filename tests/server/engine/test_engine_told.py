"""That calls hear of their vectors which wait for a batch that does not come to an end."""

import asyncio
import threading

import pytest
from controlled import PATIENCE, Begin, Clock, GatedModel

from vecserve_server.engine.engine import Engine
from vecserve_server.engine.errors import InferenceFailedError
from vecserve_server.engine.instances import Instances
from vecserve_server.engine.scheduler import Scheduler


@pytest.fixture(autouse=True)
def awaited(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """Has every batch wait for another that is predicted to end now."""

    def now(*_: object) -> float:
        return clock.now

    monkeypatch.setattr(Instances, "next_end", now)


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Counts the batches that instances have told of."""
    ended = threading.Semaphore(0)
    tell = Instances._tell  # pyright: ignore[reportPrivateUsage]

    def telling(*args: object) -> bool:
        goes_on = tell(*args)  # pyright: ignore[reportArgumentType]
        ended.release()
        return goes_on

    monkeypatch.setattr(Instances, "_tell", telling)
    return ended


async def test_a_look_at_the_instances_tells_them(begin: Begin) -> None:
    assert len((await (await begin("cat"))).vectors) == 1


async def test_they_are_told_before_instances_are_stopped(
    engine: Engine, begin: Begin, ended: threading.Semaphore, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()
    stop = Instances.stop

    def stop_later(instances: Instances) -> object:
        assert goes_on.wait(PATIENCE)
        return stop(instances)

    monkeypatch.setattr(Instances, "stop", stop_later)
    call = await begin("cat")
    assert await asyncio.to_thread(ended.acquire, timeout=PATIENCE)

    stopping = asyncio.create_task(engine.stop())
    assert len((await call).vectors) == 1

    goes_on.set()
    await stopping


async def test_what_ends_while_instances_are_stopped_is_told(engine: Engine, begin: Begin, model: GatedModel) -> None:
    model.running.close()
    call = await begin("cat")
    await model.running.reached()

    stopping = asyncio.create_task(engine.stop())
    await asyncio.sleep(0)
    model.running.open()
    await stopping

    assert len((await call).vectors) == 1


async def test_an_instance_that_dies_leaves_them_their_vectors(
    begin: Begin, ended: threading.Semaphore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("ours")

    whole = await begin("cat")
    assert await asyncio.to_thread(ended.acquire, timeout=PATIENCE)
    monkeypatch.setattr(Scheduler, "next_batch", fail)
    lost = await begin("mat")

    with pytest.raises(InferenceFailedError, match="an instance died"):
        await lost
    assert len((await whole).vectors) == 1
