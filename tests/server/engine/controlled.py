"""A real model and a clock, both of which wait while a test arranges what happens meanwhile."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecserve_server.models.inputs import InputLimits, PreparedItem, TextInputs
from vecserve_server.models.manifest import GRAPH_FILE, Manifest, TextInput
from vecserve_server.models.model import TextModel
from vecserve_server.models.session import Graph, SessionOptions

# A test that would hang fails after this.
PATIENCE = 20.0


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


class GatedModel(TextModel):
    """The tiny text model, with a gate before each batch and each preprocessing, and a record of what ran."""

    def __init__(self, artifact: Path) -> None:
        manifest = Manifest.read(artifact)
        assert isinstance(manifest.input, TextInput)
        graph = Graph(artifact / GRAPH_FILE, SessionOptions())
        super().__init__(artifact, manifest, manifest.input, graph, InputLimits())
        self.running = Gate()
        self.preparing = Gate()
        self.batches: list[list[list[int]]] = []

    def prepare(self, inputs: TextInputs) -> list[PreparedItem]:
        self.preparing.pass_through()
        return super().prepare(inputs)

    def run(self, payloads: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        self.batches.append([payload.tolist() for payload in payloads])
        self.running.pass_through()
        return super().run(payloads)
