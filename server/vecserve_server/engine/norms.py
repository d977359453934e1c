"""Euclidean norms, and vectors divided by them.

Once for every batch, just after its run, of whose code and data the processor's caches are full: few calls of NumPy,
each of which takes 20 µs there, count for more than few operations.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

# Sums of squares that float32 holds in full precision, as it does their addends.
_SMALLEST_SQUARE, _LARGEST_SQUARE = 1e-30, 1e30
# Norms that it holds so, and that can be divided by in float32.
_SMALLEST_NORM, _LARGEST_NORM = 1e-30, 1e30

FloatT = TypeVar("FloatT", np.float32, np.float64)


def euclidean_norms(vectors: NDArray[np.float32]) -> NDArray[np.float32] | NDArray[np.float64]:
    """Norms `(batch,)` of the rows of `(batch, dimensionality)`; not finite where any element is not.

    In float32 if all of them are usual. Otherwise in float64, as those that are not are computed: squares of float32
    overflow from 1e19 on, and vanish below 1e-19.
    """
    squares = _squares(vectors)
    norms = np.sqrt(squares)
    usual = [_SMALLEST_SQUARE < square < _LARGEST_SQUARE for square in squares.tolist()]
    if all(usual):
        return norms
    wide = vectors.astype(np.float64)
    exact: NDArray[np.float64] = np.sqrt(_squares(wide))
    return np.where(usual, norms.astype(np.float64), exact)


def normalize(vectors: NDArray[np.float32], norms: NDArray[np.float32] | NDArray[np.float64]) -> NDArray[np.float32]:
    """Rows of `(batch, dimensionality)` divided by their `euclidean_norms`, whatever the others are.

    Zeros stay zeros, and what is not finite stays as it is.
    """
    if norms.dtype == np.float32:
        return vectors / norms[:, np.newaxis]
    usual = (norms > _SMALLEST_NORM) & (norms < _LARGEST_NORM)
    units = vectors / np.where(usual, norms, 1).astype(np.float32)[:, np.newaxis]
    for row in np.flatnonzero(~usual & (norms > 0) & (norms < np.inf)):
        units[row] = vectors[row].astype(np.float64) / norms[row]
    return units


@np.errstate(over="ignore", invalid="ignore")
def _squares(vectors: NDArray[FloatT]) -> NDArray[FloatT]:
    """Sums of squares of the rows; infinite or not a number where they are too large."""
    return np.vecdot(vectors, vectors)
