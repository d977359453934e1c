"""Callers that wait for room in the queue."""

import asyncio
from collections.abc import Callable


class Room:
    """A line of callers, of which the first looks for room whenever there may be some. Belongs to one event loop."""

    def __init__(self) -> None:
        self._line = asyncio.Lock()  # which is given to waiters in the order they came
        self._offered = asyncio.Event()

    async def enter(self, fits: Callable[[], bool]) -> None:
        """Returns when those before have entered or gone, and `fits` finds room; raises what it raises."""
        async with self._line:
            while not fits():
                self._offered.clear()
                await self._offered.wait()

    def offer(self) -> None:
        """Lets the first caller look whether there is room now."""
        self._offered.set()
