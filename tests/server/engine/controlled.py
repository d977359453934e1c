"""What tests of the engine hold in their hands: its clock, a model that waits, and what it tells."""

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecserve_server.engine.engine import Embeddings
from vecserve_server.engine.observer import Drop, Observer, Refusal
from vecserve_server.engine.scheduler import Batch
from vecserve_server.engine.timings import Timings
from vecserve_server.models.inputs import AnyTextInputs, InputLimits, Prepared
from vecserve_server.models.manifest import GRAPH_FILE, Manifest, TextInput
from vecserve_server.models.model import TextModel
from vecserve_server.models.session import Graph, SessionOptions

# A test that would hang fails after this.
PATIENCE = 20.0


Begin = Callable[..., Awaitable[asyncio.Task[Embeddings]]]
"""Sends a call of texts, on terms given by keyword."""


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Gate:
    """Open until it is closed; tells when somebody came to it."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._reached = threading.Event()
        self.open()

    def open(self) -> None:
        self._open.set()

    def close(self) -> None:
        self._reached.clear()
        self._open.clear()

    async def reached(self) -> None:
        """Waits until somebody stands before it."""
        assert await asyncio.to_thread(self._reached.wait, PATIENCE)

    def pass_through(self) -> None:
        self._reached.set()
        assert self._open.wait(PATIENCE)


MUCH = ("cat " * 100,) * 9
"""Texts of one call that are too many to be tokenized on the event loop."""


class GatedModel(TextModel):
    """The tiny text model, with a gate before each batch and each preprocessing on a thread, and a record of both."""

    def __init__(self, artifact: Path) -> None:
        manifest = Manifest.read(artifact)
        assert isinstance(manifest.input, TextInput)
        graph = Graph(artifact / GRAPH_FILE, SessionOptions())
        super().__init__(artifact, manifest, manifest.input, graph, InputLimits())
        self.running = Gate()
        self.preparing = Gate()
        self.batches: list[list[list[int]]] = []
        self.prepared: list[int] = []
        """How many texts of each call were preprocessed at once."""

    def prepare_all(self, calls: Sequence[AnyTextInputs]) -> list[Prepared]:
        self.prepared += map(len, calls)
        if threading.current_thread() is not threading.main_thread():
            self.preparing.pass_through()
        return super().prepare_all(calls)

    def run(self, payloads: Sequence[NDArray[Any]], *, alone: bool = False) -> NDArray[np.float32]:
        self.batches.append([payload.tolist() for payload in payloads])
        self.running.pass_through()
        return super().run(payloads, alone=alone)


class Recorder(Observer):
    """An observer that counts what it is told."""

    def __init__(self) -> None:
        self.refusals: Counter[Refusal] = Counter()
        self.drops: Counter[Drop] = Counter()
        self.computed = 0
        self.failed = 0
        self.late = 0
        self.batches: list[Batch] = []
        self.timings: list[Timings] = []
        """Of calls that were answered."""
        self.fruitless: list[float] = []
        """Seconds that calls took which were not."""

    def refused(self, model: str, reason: Refusal) -> None:
        self.refusals[reason] += 1

    def dropped(self, model: str, reason: Drop, count: int) -> None:
        self.drops[reason] += count

    def ran(self, batch: Batch, seconds: float, late: int, *, failed: bool) -> None:
        self.batches.append(batch)
        self.late += late
        if failed:
            self.failed += len(batch.items)
        else:
            self.computed += len(batch.items)

    def answered(self, model: str, timings: Timings) -> None:
        self.timings.append(timings)

    def unanswered(self, model: str, seconds: float) -> None:
        self.fruitless.append(seconds)
