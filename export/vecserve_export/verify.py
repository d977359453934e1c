"""Compares an artifact, run by the code that will serve it, with what PyTorch computes."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vecserve_export.artifact import write_manifest
from vecserve_export.errors import ExportError
from vecserve_export.fidelity import check_samples, measure
from vecserve_export.probes import PROBE_SETS, images, texts
from vecserve_server.models.fidelity import Fidelity
from vecserve_server.models.inputs import ImageInputs, InputLimits, PreparedItem, TextInputs
from vecserve_server.models.manifest import ArtifactError, Manifest
from vecserve_server.models.model import AnyModel, TextModel, open_artifact
from vecserve_server.models.session import SessionOptions

UNMEASURED = Fidelity(
    probe_set="none",
    samples=1,
    max_absolute_error=0.0,
    min_cosine=1.0,
    p1_cosine=1.0,
    mean_cosine=1.0,
    max_similarity_error=0.0,
    mean_similarity_error=0.0,
    min_rank_correlation=1.0,
    mean_rank_correlation=1.0,
    mean_top10_overlap=1.0,
    max_batch_difference=0.0,
    min_batch_cosine=1.0,
    bounds={},
)
"""Figures to be replaced by `verify`: an artifact opens only with a complete manifest."""

_SAMPLE_BATCHES = (1, 4, 2, 3)
_PROBE_BATCHES = (8,)
_ALONE = (1,)


@dataclass(frozen=True, slots=True)
class Reference:
    """What PyTorch makes of some inputs."""

    inputs: TextInputs | ImageInputs
    vectors: NDArray[np.float32]
    """`(len(inputs), dimensionality)` float32, not normalized."""


def verify(directory: Path, manifest: Manifest, samples: Reference, probes: Reference) -> Manifest:
    """Runs the artifact in `directory`, and writes its manifest with the fidelity measured.

    Args:
        directory: holds all of the artifact but the manifest.
        manifest: what to write, but for its fidelity.
        samples: odd inputs, on which the graph must be about right.
        probes: ordinary ones, on which it is measured.

    Raises:
        FidelityError: a figure is past its bound.
        ExportError: the server would not open the artifact.
    """
    write_manifest(directory, manifest)
    try:
        model = open_artifact(directory, SessionOptions(intra_op_threads=torch.get_num_threads()), InputLimits())
    except ArtifactError as error:
        raise ExportError(f"what was exported can't be served: {error}") from error
    check_samples(samples.vectors, _run(model, _prepare(model, samples.inputs), _SAMPLE_BATCHES), manifest.precision)
    measured = manifest.model_copy(update={"fidelity": _measure(model, probes)})
    write_manifest(directory, measured)
    return measured


def embed_probes(model: AnyModel) -> NDArray[np.float32]:
    """Vectors of the probe set, `(probes, dimensionality)` float32, not normalized, from batches of mixed lengths."""
    inputs = TextInputs(texts()) if isinstance(model, TextModel) else ImageInputs(images())
    return _run(model, _prepare(model, inputs), _PROBE_BATCHES)


def _measure(model: AnyModel, probes: Reference) -> Fidelity:
    items = _prepare(model, probes.inputs)
    batched, alone = _run(model, items, _PROBE_BATCHES), _run(model, items, _ALONE)
    manifest = model.manifest
    return measure(PROBE_SETS[manifest.modality], probes.vectors, batched, alone, manifest.precision)


def _prepare(model: AnyModel, inputs: TextInputs | ImageInputs) -> list[PreparedItem]:
    if isinstance(model, TextModel):
        assert isinstance(inputs, TextInputs)
        return model.prepare(inputs)
    assert isinstance(inputs, ImageInputs)
    return model.prepare(inputs)


def _run(model: AnyModel, items: Sequence[PreparedItem], sizes: Sequence[int]) -> NDArray[np.float32]:
    """Vectors of all items, in order, computed in batches of mixed company."""
    vectors = np.empty((len(items), model.manifest.dimensionality), dtype=np.float32)
    for batch in _batches(len(items), sizes):
        payloads: list[NDArray[Any]] = [items[index].payload for index in batch]
        vectors[batch] = model.run(payloads)
    return vectors


def _batches(count: int, sizes: Sequence[int]) -> Sequence[list[int]]:
    order = list(range(count))
    random.Random(0).shuffle(order)  # noqa: S311 (not a secret: every export tries the same batches)
    batches: list[list[int]] = []
    while order:
        size = sizes[len(batches) % len(sizes)]
        batches.append(order[:size])
        order = order[size:]
    return batches
