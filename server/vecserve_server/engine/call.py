"""One call's way through queue and instances."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vecserve_server.engine.errors import EngineError, InferenceFailedError


@dataclass(eq=False, slots=True)
class Call:
    """The inputs of one call while they are computed, in whichever batches."""

    vectors: NDArray[np.float32]
    """`(inputs, dimensionality)`; instances fill it, row by row."""
    deadline: float
    """On the engine's clock, in seconds."""
    on_end: Callable[[EngineError | None], None]
    """Called once, with None if every vector is there."""
    computed: int = 0
    abandoned: bool = False
    """Whether nobody waits any more: inputs that are still queued are dropped uncomputed."""
    started: float = math.inf
    """When its first batch began."""
    ended: float = 0.0
    """When its last batch ended."""

    def abandon(self) -> None:
        """Says that the caller has gone."""
        self.abandoned = True

    def fail(self, error: EngineError) -> None:
        """Ends the call, unless it has ended already."""
        if not self.abandoned:
            self.abandoned = True
            self.on_end(error)

    def advance(self, index: int, started: float, ended: float) -> None:
        """Takes note that a batch computed input `index`, and ends the call after its last."""
        if not np.isfinite(self.vectors[index]).all():
            self.fail(InferenceFailedError(f"the vector of input {index} is not finite"))
            return
        self.computed += 1
        self.started, self.ended = min(self.started, started), max(self.ended, ended)
        if self.computed == len(self.vectors) and not self.abandoned:
            self.on_end(None)
