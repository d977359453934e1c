"""Compares an artifact, run by the code that will serve it, with what PyTorch computes."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vecserve_export.artifact import write_manifest
from vecserve_export.errors import ExportError, FidelityError
from vecserve_server.models.inputs import ImageInputs, InputLimits, TextInputs
from vecserve_server.models.manifest import ArtifactError, Fidelity, Manifest
from vecserve_server.models.model import AnyModel, TextModel, open_artifact
from vecserve_server.models.session import SessionOptions

UNMEASURED = Fidelity(
    samples=1, max_absolute_error=0.0, min_cosine=1.0, absolute_error_bound=1e-4, cosine_bound=0.99999
)
"""The bounds of fp32, and figures to be replaced by `verify`: an artifact opens only with a complete manifest."""

_BATCH_SIZES = (1, 4, 2, 3)


def verify(
    directory: Path, manifest: Manifest, inputs: TextInputs | ImageInputs, expected: NDArray[np.float32]
) -> Manifest:
    """Runs `inputs` through the artifact in `directory`, and writes its manifest with the fidelity measured.

    Args:
        directory: holds all of the artifact but the manifest.
        manifest: what to write, its fidelity stating the bounds.
        inputs: what to embed, in batches of several sizes and random company.
        expected: `(len(inputs), dimensionality)` float32, PyTorch's vectors, not normalized.

    Raises:
        FidelityError: a figure is past its bound.
        ExportError: the server would not open the artifact.
    """
    write_manifest(directory, manifest)
    try:
        model = open_artifact(directory, SessionOptions(intra_op_threads=torch.get_num_threads()), InputLimits())
    except ArtifactError as error:
        raise ExportError(f"what was exported can't be served: {error}") from error
    fidelity = measure(expected, _embed(model, inputs), manifest.fidelity)
    measured = manifest.model_copy(update={"fidelity": fidelity})
    write_manifest(directory, measured)
    return measured


def measure(expected: NDArray[np.float32], actual: NDArray[np.float32], bounds: Fidelity) -> Fidelity:
    """The largest error and the smallest cosine between rows of two `(samples, dimensionality)` arrays.

    The error is that of single components. Each pair of rows is first divided by the largest magnitude in its
    expected row where that exceeds 1: fp32 rounds in proportion, and a random ResNet-50 puts out values of 200. Rows
    are not brought to one length, so a graph that is wrong by a factor does not pass.

    Raises:
        FidelityError: a figure is past its bound, or not a number.
    """
    if expected.shape != actual.shape:
        raise FidelityError(f"the graph put out vectors of shape {actual.shape}, and PyTorch {expected.shape}")
    reference, served = expected.astype(np.float64), actual.astype(np.float64)
    scale = np.maximum(1.0, np.abs(reference).max(axis=1, keepdims=True))
    error = float((np.abs(reference - served) / scale).max())
    cosine = float(_cosine(reference, served).min())
    # Written so that a NaN, which compares as false, is refused.
    if not (error <= bounds.absolute_error_bound and cosine >= bounds.cosine_bound):
        raise FidelityError(
            f"the exported graph differs from PyTorch on {len(expected)} samples: largest error {error:.3g} "
            f"(at most {bounds.absolute_error_bound:g} is allowed), smallest cosine {cosine:.7f} "
            f"(at least {bounds.cosine_bound:g}). Nothing was written"
        )
    return bounds.model_copy(
        update={"samples": len(expected), "max_absolute_error": error, "min_cosine": min(cosine, 1.0)}
    )


def _cosine(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    with np.errstate(invalid="ignore"):
        return (left * right).sum(axis=1) / lengths


def _embed(model: AnyModel, inputs: TextInputs | ImageInputs) -> NDArray[np.float32]:
    """Vectors of all inputs, in order, computed in batches of mixed company."""
    if isinstance(model, TextModel):
        assert isinstance(inputs, TextInputs)
        items = model.prepare(inputs)
    else:
        assert isinstance(inputs, ImageInputs)
        items = model.prepare(inputs)
    vectors = np.empty((len(items), model.manifest.dimensionality), dtype=np.float32)
    for batch in _batches(len(items)):
        payloads: list[NDArray[Any]] = [items[index].payload for index in batch]
        vectors[batch] = model.run(payloads)
    return vectors


def _batches(count: int) -> Sequence[list[int]]:
    order = list(range(count))
    random.Random(0).shuffle(order)  # noqa: S311 (not a secret: every export tries the same batches)
    batches: list[list[int]] = []
    while order:
        size = _BATCH_SIZES[len(batches) % len(_BATCH_SIZES)]
        batches.append(order[:size])
        order = order[size:]
    return batches
