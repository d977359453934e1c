"""An event loop's time and timers, which tests move."""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any


class Handle:
    def __init__(self, at: float, act: Callable[[], None]) -> None:
        self.at, self.act, self.cancelled = at, act, False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """An event loop's time and timers."""

    def __init__(self) -> None:
        self.now = 100.0
        self.handles: list[Handle] = []
        self._soon: deque[Callable[[], None]] = deque()

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, act: Callable[..., None], *arguments: Any) -> Handle:
        self.handles.append(Handle(self.now + delay, partial(act, *arguments)))
        return self.handles[-1]

    def call_soon(self, act: Callable[..., Any], *arguments: Any) -> None:
        """Acts before the time is next moved."""
        self._soon.append(partial(act, *arguments))

    def advance(self, seconds: float) -> None:
        while self._soon:
            self._soon.popleft()()
        end = self.now + seconds
        while due := [handle for handle in self.handles if handle.at <= end and not handle.cancelled]:
            first = min(due, key=lambda handle: handle.at)
            self.handles.remove(first)
            self.now = first.at
            first.act()
        self.now = end
