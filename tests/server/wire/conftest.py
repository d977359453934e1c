from collections.abc import AsyncGenerator
from typing import Any

import pytest
import pytest_asyncio
from timed_loop import Clock
from wire_server import Serve, Served

from vecserve_wire.limits import Limits


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture
async def serve() -> AsyncGenerator[Serve]:
    """Starts a server; keywords are its limits."""
    running: list[Served] = []

    async def start(**limits: Any) -> Served:
        served = Served(Limits(**limits))
        running.append(served)
        await served.start()
        return served

    yield start
    for served in running:
        await served.stop()
