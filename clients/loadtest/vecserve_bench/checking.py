"""Whether responses hold what they should. Pure."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from vecserve_bench.api import Api
from vecserve_bench.record import VectorCheck
from vecserve_loadtest import LoadResult

_SAME = 0.999
"""Least cosine of two vectors of one input: batches of other sizes round otherwise."""


def check_vectors(api: Api, load: LoadResult, sizes: Sequence[int]) -> VectorCheck:
    """Decode all kept responses and count those that are not sound.

    A sound response has a finite vector for each input, none of zeros alone, and the same input always has the same.

    Args:
        api: Takes responses apart.
        load: The result that keeps them.
        sizes: Inputs of each message.
    """
    faults = list(_faults(api, load, sizes))
    return VectorCheck(responses=len(load.responses), bad=len(faults), example=faults[0] if faults else "")


def _faults(api: Api, load: LoadResult, sizes: Sequence[int]) -> Iterator[str]:
    firsts: dict[int, npt.NDArray[np.floating]] = {}
    for row, response in load.responses.items():
        message = int(load.calls.message[row])
        try:
            vectors = api.vectors(response).astype(np.float64)
            _require_sound(vectors, sizes[message])
            _require_same(vectors, firsts.setdefault(message, vectors))
        except ValueError as error:
            yield str(error)


def _require_sound(vectors: npt.NDArray[np.float64], inputs: int) -> None:
    if len(vectors) != inputs:
        raise ValueError(f"{len(vectors)} vectors for {inputs} inputs")
    if not np.isfinite(vectors).all():
        raise ValueError("a vector has elements that are not finite")
    if not np.linalg.norm(vectors, axis=1).all():
        raise ValueError("a vector of zeros")


def _require_same(vectors: npt.NDArray[np.float64], first: npt.NDArray[np.floating]) -> None:
    if vectors.shape != first.shape:
        raise ValueError(f"vectors of shape {vectors.shape}, and of {first.shape} before for the same inputs")
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(first, axis=1)
    cosine = float(((vectors * first).sum(axis=1) / lengths).min())
    if cosine < _SAME:
        raise ValueError(f"a vector whose cosine with the first of the same input is {cosine:.4f}")
