"""One call's way through queue and instances."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from vecserve_server.engine.errors import EngineError


@dataclass(eq=False, slots=True)
class Call:
    """The inputs of one call while they are computed, in whichever batches."""

    rows: list[bytes | memoryview]
    """The vector of each input, see `Embeddings`; instances put them in."""
    on_end: Callable[[EngineError | None], None]
    """Called once, with None if every vector is there."""
    deadline: float = math.inf
    """On the engine's clock, in seconds."""
    normalized: bool = False
    """Whether its vectors are to be of length 1."""
    computed: int = 0
    """Inputs whose vectors are there."""
    abandoned: bool = False
    """Whether nobody waits any more: inputs that are still queued are dropped uncomputed."""
    started: float = math.inf
    """When its first batch began."""
    ended: float = 0.0
    """When its last batch ended."""
    trace: Any = None
    """Of its `Progress`."""

    def abandon(self) -> None:
        """Says that the caller has gone."""
        self.abandoned = True

    def fail(self, error: EngineError) -> None:
        """Ends the call, unless it has ended already."""
        if not self.abandoned:
            self.abandoned = True
            self.on_end(error)

    def advance(self, count: int, started: float, ended: float) -> bool:
        """Takes note of a batch that computed `count` more inputs; whether these were the last.

        For one thread at a time.
        """
        self.computed += count
        self.started, self.ended = min(self.started, started), max(self.ended, ended)
        return self.computed == len(self.rows)

    def succeed(self) -> None:
        """Ends the call, all of whose vectors are there, unless it has ended already."""
        if not self.abandoned:
            self.on_end(None)


@dataclass(eq=False, slots=True)
class WorkItem:
    """One input of one call, waiting to be computed."""

    call: Call
    index: int
    """Its place among the call's inputs."""
    payload: NDArray[Any]
    size: int
    """In the model's unit: tokens, or images."""
    arrival: float = 0.0
    """When it was queued."""
    due: float = math.inf
    """By when its run is to end; somewhat before the call's deadline."""
