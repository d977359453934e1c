"""Euclidean norms, and vectors divided by them."""

import numpy as np
from numpy.typing import NDArray

# Norms that float32 holds in full precision, so that dividing by them takes a fifth of the time.
_SMALLEST_NORM, _LARGEST_NORM = 1e-30, 1e30


def euclidean_norms(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Norms `(batch,)` of the rows of `(batch, dimensionality)`; not finite where any element is not.

    In float64: squares of float32 overflow from 1e19 on, and vanish below 1e-19.
    """
    wide = vectors.astype(np.float64)
    return np.sqrt(np.einsum("ij,ij->i", wide, wide))


def normalize(vectors: NDArray[np.float32], norms: NDArray[np.float64]) -> NDArray[np.float32]:
    """Rows of `(batch, dimensionality)` divided by their norms `(batch,)`, whatever the others are.

    Zeros stay zeros, and what is not finite stays as it is.
    """
    if np.minimum.reduce(norms) > _SMALLEST_NORM and np.maximum.reduce(norms) < _LARGEST_NORM:
        return vectors / norms.astype(np.float32)[:, np.newaxis]
    usual = (norms > _SMALLEST_NORM) & (norms < _LARGEST_NORM)
    units = vectors / np.where(usual, norms, 1).astype(np.float32)[:, np.newaxis]
    for row in np.flatnonzero(~usual & (norms > 0) & (norms < np.inf)):
        units[row] = vectors[row].astype(np.float64) / norms[row]
    return units
