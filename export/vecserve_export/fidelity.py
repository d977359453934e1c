"""How far served vectors are from a reference, and how far that moves a search: arithmetic alone."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vecserve_export.errors import FidelityError
from vecserve_server.models.fidelity import Bounds, Fidelity

Precision = Literal["fp32", "fp16", "int8"]
Rows = NDArray[np.float32]

BOUNDS: dict[Precision, Bounds] = {
    "fp32": {
        "max_absolute_error": 1e-4,
        "min_cosine": 0.99999,
        "max_batch_difference": 1e-5,
    },
    "fp16": {
        "min_cosine": 0.9999,
        "max_batch_difference": 1e-3,
    },
    "int8": {
        "min_cosine": 0.98,
        "p1_cosine": 0.99,
        "mean_cosine": 0.997,
        "mean_rank_correlation": 0.98,
        "mean_top10_overlap": 0.85,
        # Sums of integers are exact. One scale for a whole batch, as in ONNX Runtime's dynamic int8, gives 0.03.
        "max_batch_difference": 1e-6,
    },
}
"""What an artifact has to keep on the probe set to be published."""

SAMPLE_COSINES: dict[Precision, float] = {"fp32": 0.99999, "fp16": 0.999, "int8": 0.95}
"""Least cosine on the odd samples. Wrong plumbing, such as another pooling or padding that is read, is far below."""

_NEIGHBOURS = 10
_FEWEST = 3

# Digits of a similarity that mean something: equal vectors must tie, and float64 sums of fp32 products differ by 1e-16.
_DIGITS = 12


def measure(probe_set: str, expected: Rows, batched: Rows, alone: Rows, precision: Precision) -> Fidelity:
    """The figures of one artifact on the probe set.

    Args:
        probe_set: its name.
        expected: `(probes, dimensionality)` float32, the reference's vectors, not normalized.
        batched: the same shape, as served in batches of mixed lengths.
        alone: the same shape, as served one at a time.
        precision: whose bounds the figures have to keep.

    Raises:
        FidelityError: figures are past their bounds, the message has them all; or there are none, because shapes
            differ, probes are fewer than three, or a vector is zero or not finite.
    """
    for served in (batched, alone):
        _check(expected, served)
    cosines = _cosines(expected, batched)
    true, found = similarities(expected), similarities(batched)
    pairs = np.triu_indices(len(expected), k=1)
    errors = np.abs(true - found)[pairs]
    correlations, overlaps = _rank_agreement(true, found)
    fidelity = Fidelity(
        probe_set=probe_set,
        samples=len(expected),
        max_absolute_error=absolute_error(expected, batched),
        min_cosine=float(cosines.min()),
        p1_cosine=float(np.percentile(cosines, 1)),
        mean_cosine=float(cosines.mean()),
        max_similarity_error=float(errors.max()),
        mean_similarity_error=float(errors.mean()),
        min_rank_correlation=float(correlations.min()),
        mean_rank_correlation=float(correlations.mean()),
        mean_top10_overlap=float(overlaps.mean()),
        max_batch_difference=float(np.abs(_unit(batched) - _unit(alone)).max()),
        min_batch_cosine=float(_cosines(batched, alone).min()),
        bounds=BOUNDS[precision],
    )
    if fidelity.missed:
        raise FidelityError(
            f"the exported graph misses what {precision} has to keep on {len(expected)} probes: "
            f"{'; '.join(fidelity.missed)}. Nothing was written"
        )
    return fidelity


def check_samples(expected: Rows, served: Rows, precision: Precision) -> None:
    """Makes sure that a graph is about right on odd inputs, `(samples, dimensionality)` float32 of each.

    Raises:
        FidelityError: it is not.
    """
    _check(expected, served)
    error, cosine = absolute_error(expected, served), float(_cosines(expected, served).min())
    largest, smallest = BOUNDS[precision].get("max_absolute_error", np.inf), SAMPLE_COSINES[precision]
    if error > largest or cosine < smallest:
        raise FidelityError(
            f"the exported graph differs from PyTorch on {len(expected)} odd samples: largest error {error:.3g} "
            f"(at most {largest:g} is allowed), smallest cosine {cosine:.7f} (at least {smallest:g}). "
            "Nothing was written"
        )


def absolute_error(expected: Rows, served: Rows) -> float:
    """The largest difference of one component between rows of two `(samples, dimensionality)` arrays.

    Each pair of rows is first divided by the largest magnitude in its expected row where that exceeds 1: fp32 rounds
    in proportion, and a random ResNet-50 puts out values of 200. Rows are not brought to one length, so a graph that
    is wrong by a factor does not pass.
    """
    reference = expected.astype(np.float64)
    scale = np.maximum(1.0, np.abs(reference).max(axis=1, keepdims=True))
    return float((np.abs(reference - served) / scale).max())


def similarities(vectors: Rows) -> NDArray[np.float64]:
    """The cosine of every pair of rows, `(samples, samples)` float64."""
    unit = _unit(vectors)
    return (unit @ unit.T).round(_DIGITS)


def rank_correlation(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """Spearman's correlation of two sequences: Pearson's of their ranks, ties having the mean of theirs.

    Where one sequence is all ties there is no such number: 1 if both are, else 0.
    """
    ranks = [_ranks(values) for values in (left, right)]
    first, second = (each - each.mean() for each in ranks)
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    if lengths == 0.0:
        return float(not first.any() and not second.any())
    return min(1.0, float(first @ second) / lengths)


def overlap(left: NDArray[np.float64], right: NDArray[np.float64], count: int) -> float:
    """The share of the `count` largest elements that stand in the same places; of ties, the first count."""
    largest = [set(np.argsort(-values, kind="stable")[:count].tolist()) for values in (left, right)]
    return len(largest[0] & largest[1]) / count


def _rank_agreement(
    left: NDArray[np.float64], right: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each probe, how two similarity matrices rank all others: rank correlation, and overlap of the nearest."""
    others = ~np.eye(len(left), dtype=bool)
    rows = [(left[i, others[i]], right[i, others[i]]) for i in range(len(left))]
    nearest = min(_NEIGHBOURS, len(left) - 1)
    correlations = [rank_correlation(*row) for row in rows]
    overlaps = [overlap(*row, nearest) for row in rows]
    return np.array(correlations), np.array(overlaps)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[which]


def _cosines(left: Rows, right: Rows) -> NDArray[np.float64]:
    """Of corresponding rows, `(samples,)` float64 in [-1, 1]."""
    return (_unit(left) * _unit(right)).sum(axis=1).clip(-1.0, 1.0)


def _unit(vectors: Rows) -> NDArray[np.float64]:
    wide = vectors.astype(np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


def _check(expected: Rows, served: Rows) -> None:
    """Refuses what no figure can be computed of."""
    if expected.shape != served.shape:
        raise FidelityError(f"the graph put out vectors of shape {served.shape}, and PyTorch {expected.shape}")
    if len(expected) < _FEWEST:
        raise FidelityError(f"{len(expected)} probes can't be ranked: at least {_FEWEST} are needed")
    for maker, vectors in (("PyTorch", expected), ("the graph", served)):
        usable = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)
        if not usable.all():
            raise FidelityError(f"{maker} made a vector of probe {int(np.argmin(usable))} that is zero or not finite")
