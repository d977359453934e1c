import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from vecserve_server.engine.call import Call, WorkItem
from vecserve_server.engine.catalog import Catalog
from vecserve_server.engine.engine import Embeddings, Engine
from vecserve_server.engine.errors import EngineError
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.scheduler import Lane, Scheduler
from vecserve_server.engine.settings import EngineSettings
from vecserve_server.engine.terms import Terms
from vecserve_server.models.inputs import TextInputs
from vecserve_server.models.model import ImageModel

# With importmode=importlib, pytest leaves the tests' own folder off the path.
sys.path.insert(0, str(Path(__file__).parent))

from controlled import PATIENCE, Begin, Clock, GatedModel, Recorder
from running_instances import Running


@pytest.fixture
def make_items() -> Callable[..., list[WorkItem]]:
    """Makes the items of one call, one of each size; how the call ends goes to `on_end`."""

    def ignore(error: EngineError | None) -> None: ...

    def make(
        *sizes: int,
        deadline: float = float("inf"),
        on_end: Callable[..., None] = ignore,
        normalized: bool = False,
    ) -> list[WorkItem]:
        call = Call([b""] * len(sizes), on_end, deadline, normalized)
        return [WorkItem(call, index, np.full(size, index), size) for index, size in enumerate(sizes)]

    return make


@pytest.fixture
def make_scheduler() -> Callable[..., Scheduler]:
    """Makes a scheduler of lanes, given by model; they are the same at both priorities."""

    def make(**lanes: Lane) -> Scheduler:
        return Scheduler({(model, priority): lane for model, lane in lanes.items() for priority in Priority})

    return make


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def model(text_artifact: Path) -> Iterator[GatedModel]:
    model = GatedModel(text_artifact)
    yield model
    model.running.open()
    model.preparing.open()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest_asyncio.fixture
async def engine(model: GatedModel, image_model: ImageModel, clock: Clock, recorder: Recorder) -> AsyncIterator[Engine]:
    """One instance of each priority, one preprocessing thread, a clock that stands still."""
    settings = EngineSettings(
        instances=1, preprocessing_threads=1, batch_tokens=256, batch_images=4, max_queue_seconds=10.0
    )
    engine = Engine(Catalog([model, image_model]), settings, clock, recorder)
    model.batches.clear()  # of the warm-up
    engine.start()
    loop = asyncio.get_running_loop()
    hanging = loop.call_later(PATIENCE, lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
    yield engine
    hanging.cancel()
    model.running.open()
    model.preparing.open()
    await engine.stop()


@pytest.fixture
def begin(engine: Engine, model: GatedModel) -> Begin:
    """Sends a call, and lets it get as far as it can."""

    async def begin(*texts: str, **terms: Any) -> asyncio.Task[Embeddings]:
        call = asyncio.create_task(engine.embed_texts(model, TextInputs(texts), Terms(**terms)))
        for _ in range(5):
            await asyncio.sleep(0)
        return call

    return begin


@pytest.fixture
def running(clock: Clock) -> Iterator[Running]:
    """Two instances."""
    running = Running(2, clock)
    yield running
    running.graph.let_go(100)
    running.instances.stop()
