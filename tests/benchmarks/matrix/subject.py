"""One artifact on the provider that is measured, and on the CPU for comparison."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from vecserve_export import probes
from vecserve_server.models.inputs import ImageInputs, InputLimits, PreparedItem, TextInputs
from vecserve_server.models.manifest import GRAPH_FILE
from vecserve_server.models.model import AnyModel, TextModel, open_artifact
from vecserve_server.models.providers.provider import Provider
from vecserve_server.models.session import SessionOptions

Feeds = Mapping[str, NDArray[Any]]


@dataclass
class Subject:
    """An artifact, opened as the server opens it."""

    directory: Path
    options: SessionOptions

    def __post_init__(self) -> None:
        started = time.perf_counter()
        self.model: AnyModel = open_artifact(self.directory, self.options, InputLimits())
        self.load_seconds = time.perf_counter() - started

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def provider(self) -> Provider:
        """As it is set up for this artifact."""
        return self.options.fitted(self.model.manifest).provider

    @cached_property
    def reference(self) -> AnyModel:
        """The same artifact on the CPU."""
        return open_artifact(self.directory, SessionOptions(), InputLimits())

    def lengths(self, wanted: list[int]) -> list[int]:
        """Sizes of one item: tokens of a text up to the model's limit, and 1 for an image."""
        if not isinstance(self.model, TextModel):
            return [1]
        return sorted({min(length, self.model.spec.max_token_count) for length in wanted})

    def batch(self, count: int, length: int) -> list[NDArray[Any]]:
        """Payloads of `count` items of that length, no two alike."""
        random, sample = np.random.default_rng(0), self.model.sample(length).payload
        if isinstance(self.model, TextModel):
            vocabulary = self._preprocessed_ids()
            return [random.choice(vocabulary, length) for _ in range(count)]
        return [random.integers(0, 256, sample.shape, dtype=np.uint8) for _ in range(count)]

    def probes(self) -> list[PreparedItem]:
        """The probe set on which its fidelity was measured."""
        if isinstance(self.model, TextModel):
            return self.model.prepare(TextInputs(probes.texts()))
        return self.model.prepare(ImageInputs(probes.images()))

    def placement(self) -> dict[str, int]:
        """Nodes of the optimized graph by the provider that runs them; empty where ONNX Runtime does not tell."""
        session = self.session({})
        if not hasattr(session, "get_provider_graph_assignment_info"):
            return {}
        counts: dict[str, int] = {}
        for part in session.get_provider_graph_assignment_info():
            counts[part.ep_name] = counts.get(part.ep_name, 0) + len(part.get_nodes())
        return counts

    def session(self, changes: Mapping[str, str]) -> Any:
        """A session as the server makes it, with other options of the provider: to measure what it does not use."""
        provider = self.provider
        provider.prepare()
        (name, options), *rest = provider.chain()
        settings = cast("Any", ort.SessionOptions())
        settings.intra_op_num_threads = self.options.intra_op_threads
        settings.enable_mem_pattern = False
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        return ort.InferenceSession(
            self.directory / GRAPH_FILE,
            settings,
            providers=[(name, {**options, **changes}), *rest],
            disabled_optimizers=list(provider.slower_fusions),
        )

    def feeds(self, count: int, length: int) -> Feeds:
        """A batch as the graph takes it."""
        return self.model.collate(self.batch(count, length))

    def _preprocessed_ids(self) -> NDArray[np.int64]:
        return np.concatenate([item.payload for item in self.probes()[:32]])
