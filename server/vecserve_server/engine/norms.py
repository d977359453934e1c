"""Euclidean norms."""

import numpy as np
from numpy.typing import NDArray


def euclidean_norms(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Norms `(batch,)` of the rows of `(batch, dimensionality)`; not finite where any element is not.

    In float64: squares of float32 overflow from 1e19 on, and vanish below 1e-19.
    """
    return np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
