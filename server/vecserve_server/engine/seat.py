"""An instance's place."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vecserve_server.engine.priority import Priority
from vecserve_server.engine.scheduler import Batch


class Runner(Protocol):
    """What instances need of a model."""

    def run(self, payloads: Sequence[NDArray[Any]], *, alone: bool = False) -> NDArray[np.float32]:
        """Runs one batch: `(batch, dimensionality)` float32. `alone`: it may have all cores."""
        ...

    def terminate(self, thread: int) -> None:
        """Ends the run that a thread is at, as soon as it can be ended."""
        ...


@dataclass(eq=False, slots=True)
class Seat:
    """An instance's place, and the thread that fills it. Guarded by the lock of its instances."""

    priority: Priority
    number: int
    thread: threading.Thread | None = None
    idle: bool = False
    batch: Batch | None = None
    """What runs."""
    runner: Runner | None = None
    started: float = 0.0
    lost: bool = False
    """Whether its run was given up: whatever it comes to is no longer wanted."""
