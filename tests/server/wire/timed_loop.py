"""An event loop's time and timers, which tests move."""

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

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, act: Callable[..., None], *arguments: Any) -> Handle:
        self.handles.append(Handle(self.now + delay, partial(act, *arguments)))
        return self.handles[-1]

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [handle for handle in self.handles if handle.at <= end and not handle.cancelled]:
            first = min(due, key=lambda handle: handle.at)
            self.handles.remove(first)
            self.now = first.at
            first.act()
        self.now = end
