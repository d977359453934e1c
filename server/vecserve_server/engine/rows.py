"""Vectors as the bytes that travel: one value for each row, in little-endian order."""

import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def pack(vectors: NDArray[np.floating]) -> list[memoryview]:
    """The bytes of each row of `(batch, dimensionality)`, in the vectors' own precision; not copied if they needn't be.

    Each keeps all of them in memory.
    """
    little = vectors if sys.byteorder == "little" else vectors.byteswap()
    content = np.ascontiguousarray(little).data.cast("B")
    size = vectors.shape[1] * vectors.itemsize
    return [content[start : start + size] for start in range(0, len(content), size)]


def unpack(rows: Sequence[bytes | memoryview]) -> NDArray[np.float32]:
    """Rows of float32 as `(batch, dimensionality)`."""
    return np.frombuffer(b"".join(rows), "<f4").reshape(len(rows), -1)
