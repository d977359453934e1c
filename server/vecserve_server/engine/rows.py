"""Vectors as the bytes that travel: one value for each row, in little-endian order."""

import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def pack(vectors: NDArray[np.floating]) -> list[bytes]:
    """Each row of `(batch, dimensionality)` by itself, in the vectors' own precision."""
    little = vectors if sys.byteorder == "little" else vectors.byteswap()
    return [row.tobytes() for row in little]


def unpack(rows: Sequence[bytes]) -> NDArray[np.float32]:
    """Rows of float32 as `(batch, dimensionality)`."""
    return np.frombuffer(b"".join(rows), "<f4").reshape(len(rows), -1)
