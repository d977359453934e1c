"""Versions that take over in an engine which runs, without a server around it."""

import asyncio
import gc
import logging
import shutil
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray

from vecserve_server.config import ServerConfig
from vecserve_server.engine.engine import Engine
from vecserve_server.engine.errors import DefaultModelError, ModelLoadError, ModelNotFoundError, NotReadyError
from vecserve_server.engine.observer import Observer
from vecserve_server.engine.terms import Terms
from vecserve_server.loading import Loader, load_engine
from vecserve_server.models.inputs import TextInputs
from vecserve_server.models.model import AnyModel
from vecserve_server.rollout import Rollout

Write = Callable[..., None]
Start = Callable[..., Awaitable[tuple[Engine, Rollout]]]


class Told(Observer):
    def __init__(self) -> None:
        self.models: list[str] = []

    def loaded(self, model: AnyModel) -> None:
        self.models.append(f"+{model.reference}")

    def unloaded(self, model: AnyModel) -> None:
        self.models.append(f"-{model.reference}")


@pytest.fixture
def root(tmp_path: Path, write_text_version: Write) -> Path:
    """A repository of `first` and `second`, version 1 of each."""
    for name in ("first", "second"):
        write_text_version(tmp_path / name / "1")
    return tmp_path


@pytest.fixture
def told() -> Told:
    return Told()


@pytest_asyncio.fixture
async def start(root: Path, told: Told) -> AsyncIterator[Start]:
    """Starts an engine and its rollout, with settings by keyword."""
    engines: list[Engine] = []

    async def start(**settings: object) -> tuple[Engine, Rollout]:
        config = ServerConfig(models=root, instances=1).model_copy(update=settings)
        loader = Loader(config)
        engine = await asyncio.to_thread(load_engine, config, told, loader)
        engine.start()
        engines.append(engine)
        return engine, Rollout(engine, loader, config)

    yield start
    for engine in engines:
        await engine.stop()


async def embed(engine: Engine, reference: str) -> NDArray[np.float32]:
    return (await engine.embed_texts(engine.catalog.text_model(reference), TextInputs(["the cat"]), Terms())).vectors


def served(engine: Engine) -> list[str]:
    return [model.reference for model in engine.catalog]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def test_the_highest_version_takes_over(start: Start, root: Path, write_text_version: Write, told: Told) -> None:
    engine, rollout = await start()
    before = await embed(engine, "first")
    write_text_version(root / "first" / "2", factor=2.0)

    versions = await rollout.load("first")

    assert [model.reference for model in versions] == ["first@2"]
    assert served(engine) == ["first@2", "second@1"]
    np.testing.assert_allclose(await embed(engine, "first"), 2 * before, rtol=1e-6)
    await until(lambda: "-first@1" in told.models)
    assert told.models == ["+first@1", "+second@1", "+first@2", "-first@1"]


async def test_calls_go_on_while_versions_take_over(start: Start, root: Path, write_text_version: Write) -> None:
    engine, rollout = await start()
    before = await embed(engine, "first")
    factors: set[int] = set()
    for version in range(2, 6):
        write_text_version(root / "first" / str(version), factor=float(version))
    swapping = asyncio.create_task(_swap(rollout))

    async def call() -> None:
        while not swapping.done():
            (factor,) = np.unique(np.round((await embed(engine, "first")) / before, 3))
            factors.add(int(factor))

    await asyncio.gather(swapping, *(call() for _ in range(8)))

    assert factors == {1, 2, 3, 4, 5}


async def _swap(rollout: Rollout) -> None:
    for version in range(2, 6):
        await rollout.load("first", str(version))
        await asyncio.sleep(0.02)


async def test_an_older_version_can_take_over_and_stays(start: Start, root: Path, write_text_version: Write) -> None:
    write_text_version(root / "first" / "2")
    engine, rollout = await start()

    await rollout.load("first", "1")
    await rollout.look()
    assert served(engine) == ["first@1", "second@1"]

    await rollout.load("first")
    assert served(engine) == ["first@2", "second@1"]


async def test_a_version_that_was_replaced_is_released(start: Start, root: Path, write_text_version: Write) -> None:
    engine, rollout = await start()
    await embed(engine, "first")
    old = weakref.ref(engine.catalog.get("first"))
    write_text_version(root / "first" / "2")
    gc.disable()  # without its help
    try:
        await rollout.load("first")
        await until(lambda: old() is None)
    finally:
        gc.enable()


def break_graph(version: Path) -> None:
    with (version / "model.onnx").open("r+b") as graph:
        graph.seek(100)
        graph.write(b"altered")


async def test_a_broken_version_leaves_the_old_one_serving_and_says_why(
    start: Start, root: Path, write_text_version: Write
) -> None:
    engine, rollout = await start()
    write_text_version(root / "first" / "2")
    break_graph(root / "first" / "2")

    with pytest.raises(ModelLoadError, match=r"first@2 can't be served, and what was served goes on: .*graph_digest"):
        await rollout.load("first")

    assert served(engine) == ["first@1", "second@1"]
    assert (await embed(engine, "first")).shape == (1, 8)


async def test_a_version_of_infinite_vectors_is_broken(start: Start, root: Path, write_text_version: Write) -> None:
    engine, rollout = await start()
    write_text_version(root / "first" / "2", factor=float("inf"))

    with pytest.raises(ModelLoadError, match="its first run failed: it computed a vector that is not finite"):
        await rollout.load("first")

    assert served(engine) == ["first@1", "second@1"]


async def test_looking_finds_new_versions_and_new_models(start: Start, root: Path, write_text_version: Write) -> None:
    engine, rollout = await start()
    write_text_version(root / "first" / "2")
    write_text_version(root / "another" / "7")

    await rollout.look()

    assert served(engine) == ["another@7", "first@2", "second@1"]


async def test_what_calls_mean_that_name_no_model_never_changes_by_itself(
    start: Start, root: Path, write_text_version: Write
) -> None:
    engine, rollout = await start()
    write_text_version(root / "another" / "1")

    await rollout.look()

    assert engine.catalog.text_model("").name == "first"


async def test_looking_tells_of_a_broken_version_once_and_tries_it_again_when_it_changes(
    start: Start, root: Path, write_text_version: Write, caplog: pytest.LogCaptureFixture
) -> None:
    engine, rollout = await start()
    write_text_version(root / "first" / "2")
    break_graph(root / "first" / "2")

    for _ in range(3):
        await rollout.look()
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1
    assert "first@2 can't be served" in caplog.text

    shutil.rmtree(root / "first" / "2")
    write_text_version(root / "first" / "2")
    await rollout.look()
    assert served(engine) == ["first@2", "second@1"]


async def test_a_repository_that_can_not_be_read_changes_nothing(
    start: Start, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine, rollout = await start()
    root.rename(root.with_name("elsewhere"))
    polling = asyncio.create_task(rollout.poll(0.001))

    await until(lambda: "can't be read: No such file" in caplog.text)

    assert not polling.done()
    polling.cancel()
    assert served(engine) == ["first@1", "second@1"]


async def test_a_model_that_disappears_is_served_on(start: Start, root: Path) -> None:
    engine, rollout = await start()
    shutil.rmtree(root / "first")

    await rollout.look()

    assert served(engine) == ["first@1", "second@1"]


async def test_an_unloaded_model_stays_away_until_it_is_loaded(start: Start) -> None:
    engine, rollout = await start()

    assert [model.reference for model in await rollout.unload("second")] == ["second@1"]
    await rollout.look()
    assert served(engine) == ["first@1"]

    await rollout.load("second")
    assert served(engine) == ["first@1", "second@1"]


async def test_a_default_model_can_not_be_unloaded(start: Start) -> None:
    engine, rollout = await start()

    with pytest.raises(DefaultModelError, match="start the server with another --default-text-model"):
        await rollout.unload("first")
    with pytest.raises(ModelNotFoundError):
        await rollout.unload("first@1")

    assert served(engine) == ["first@1", "second@1"]


@pytest.mark.parametrize("name", ["bert", "../models", "first/1", ".hidden", "", ".", "..", "/etc"])
async def test_what_is_no_model_of_the_repository_is_not_found(start: Start, root: Path, name: str) -> None:
    (root / ".hidden" / "1").mkdir(parents=True)
    _, rollout = await start()

    with pytest.raises(ModelNotFoundError):
        await rollout.load(name)


@pytest.mark.parametrize("version", ["2", "latest", "01", "-1"])
async def test_a_version_that_is_not_there_is_not_found(start: Start, version: str) -> None:
    engine, rollout = await start()

    with pytest.raises(ModelNotFoundError, match=f"has no version '{version}' of model 'first'"):
        await rollout.load("first", version)
    assert served(engine) == ["first@1", "second@1"]


async def test_no_version_takes_over_when_the_server_has_begun_to_shut_down(
    start: Start, root: Path, write_text_version: Write
) -> None:
    engine, rollout = await start()
    write_text_version(root / "first" / "2")

    rollout.stop()

    with pytest.raises(NotReadyError):
        await rollout.load("first")
    assert served(engine) == ["first@1", "second@1"]


async def test_several_versions_are_served_if_settings_say_so(
    start: Start, root: Path, write_text_version: Write
) -> None:
    write_text_version(root / "first" / "2", factor=2.0)
    engine, rollout = await start(model_versions=2)
    assert served(engine) == ["first@1", "first@2", "second@1"]
    write_text_version(root / "first" / "3", factor=3.0)

    await rollout.look()

    assert served(engine) == ["first@2", "first@3", "second@1"]
    np.testing.assert_allclose(await embed(engine, "first"), 1.5 * await embed(engine, "first@2"), rtol=1e-6)


async def test_no_version_above_a_pin_takes_over(start: Start, root: Path, write_text_version: Write) -> None:
    for version in ("2", "3"):
        write_text_version(root / "first" / version)
    engine, rollout = await start(pin={"first": 2})

    await rollout.look()
    await rollout.load("first")

    assert served(engine) == ["first@2", "second@1"]
