"""Vectors as the caller wants them: cut, normalized, packed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vecserve.v1 import embedding_service_pb2 as pb
from vecserve_server.engine.errors import InvalidInputError, Violation
from vecserve_server.engine.norms import euclidean_norms
from vecserve_server.models.manifest import Manifest

NORMALIZATIONS = {"none": pb.NORMALIZATION_NONE, "l2": pb.NORMALIZATION_L2}


@dataclass(slots=True)
class VectorEncoding:
    """What a response does to the model's vectors, nothing left unspecified."""

    dimensionality: int
    element_type: pb.ElementType.ValueType
    normalization: pb.Normalization.ValueType

    @classmethod
    def of(cls, options: pb.VectorOptions, manifest: Manifest) -> "VectorEncoding":
        """Fills what the caller left open with the model's defaults."""
        return cls(
            options.dimensionality or manifest.dimensionality,
            options.element_type or pb.ELEMENT_TYPE_FLOAT32,
            options.normalization or NORMALIZATIONS[manifest.normalization],
        )

    @property
    def format(self) -> pb.VectorFormat:
        """The same, as responses state it."""
        return pb.VectorFormat(
            dimensionality=self.dimensionality, element_type=self.element_type, normalization=self.normalization
        )

    def encode(self, vectors: NDArray[np.float32], norms: NDArray[np.float64]) -> list[bytes]:
        """As `pack`, each row by itself."""
        packed = self.pack(vectors, norms)
        size = len(packed) // len(vectors)
        return [packed[start : start + size] for start in range(0, len(packed), size)]

    def pack(self, vectors: NDArray[np.float32], norms: NDArray[np.float64]) -> bytes:
        """Packs the rows of `(batch, whole dimensionality)` float32, whose Euclidean norms are `(batch,)`, in order.

        Raises:
            InvalidInputError: an element is too large for float16.
        """
        if self.dimensionality < vectors.shape[1]:
            vectors = vectors[:, : self.dimensionality]
            norms = euclidean_norms(vectors)
        if self.normalization == pb.NORMALIZATION_L2:
            vectors = normalize(vectors, norms)
        if self.element_type == pb.ELEMENT_TYPE_FLOAT16:
            return _float16(vectors).tobytes()
        return vectors.astype("<f4", copy=False).tobytes()


# Norms that float32 holds in full precision, so that dividing by them takes a fifth of the time.
_SMALLEST_NORM, _LARGEST_NORM = 1e-30, 1e30

_FLOAT16_OVERFLOW = Violation(
    "vector.element_type",
    f"ELEMENT_TYPE_FLOAT16 holds at most {np.finfo(np.float16).max:g}, and a vector has a larger element: "
    "ask for ELEMENT_TYPE_FLOAT32 or NORMALIZATION_L2",
)


def _float16(vectors: NDArray[np.float32]) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        packed = vectors.astype("<f2")
    if not np.isfinite(packed).all():
        raise InvalidInputError([_FLOAT16_OVERFLOW])
    return packed


def normalize(vectors: NDArray[np.float32], norms: NDArray[np.float64]) -> NDArray[np.float32]:
    """Rows of `(batch, dimensionality)` float32 divided by their norms `(batch,)`; zeros stay zeros."""
    if len(norms) == 1 and _SMALLEST_NORM < norms[0] < _LARGEST_NORM:  # the most frequent call, in a third of the time
        return vectors / np.float32(norms[0])
    if ((norms > _SMALLEST_NORM) & (norms < _LARGEST_NORM)).all():
        return vectors / norms.astype(np.float32)[:, np.newaxis]
    return (vectors / np.where(norms == 0, 1.0, norms)[:, np.newaxis]).astype(np.float32)
