import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from vecserve_server.engine.call import Call
from vecserve_server.engine.catalog import Catalog
from vecserve_server.engine.engine import Engine, EngineSettings
from vecserve_server.engine.errors import EngineError
from vecserve_server.engine.scheduler import WorkItem
from vecserve_server.models.model import ImageModel

# With importmode=importlib, pytest leaves the tests' own folder off the path.
sys.path.insert(0, str(Path(__file__).parent))

from controlled import PATIENCE, Clock, GatedModel


@pytest.fixture
def make_items() -> Callable[..., list[WorkItem]]:
    """Makes the items of one call, one of each size; how the call ends goes to `on_end`."""

    def ignore(error: EngineError | None) -> None: ...

    def make(*sizes: int, deadline: float = float("inf"), on_end: Callable[..., None] = ignore) -> list[WorkItem]:
        call = Call(np.zeros((len(sizes), 1), np.float32), deadline, on_end)
        return [WorkItem(call, index, np.full(size, index), size) for index, size in enumerate(sizes)]

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


@pytest_asyncio.fixture
async def engine(model: GatedModel, image_model: ImageModel, clock: Clock) -> AsyncIterator[Engine]:
    """One instance, one preprocessing thread, a clock that stands still."""
    settings = EngineSettings(
        instances=1, preprocessing_threads=1, batch_tokens=256, batch_images=4, max_queue_seconds=10.0
    )
    engine = Engine(Catalog([model, image_model]), settings, clock)
    model.batches.clear()
    engine.start()
    loop = asyncio.get_running_loop()
    hanging = loop.call_later(PATIENCE, lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
    yield engine
    hanging.cancel()
    model.running.open()
    model.preparing.open()
    await engine.stop()
