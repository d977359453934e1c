"""Vectors as the caller wants them: cut, normalized, packed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vecserve.v1 import embedding_service_pb2 as pb
from vecserve_server.engine.errors import InvalidInputError, Violation
from vecserve_server.models.manifest import Manifest

_DTYPES = {pb.ELEMENT_TYPE_FLOAT32: "<f4", pb.ELEMENT_TYPE_FLOAT16: "<f2"}

NORMALIZATIONS = {"none": pb.NORMALIZATION_NONE, "l2": pb.NORMALIZATION_L2}


@dataclass(frozen=True, slots=True)
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

    def encode(self, vectors: NDArray[np.float32]) -> list[bytes]:
        """Packs each row of `(batch, whole dimensionality)` float32.

        Raises:
            InvalidInputError: an element is too large for float16.
        """
        vectors = vectors[:, : self.dimensionality]
        if self.normalization == pb.NORMALIZATION_L2:
            vectors = normalize(vectors)
        with np.errstate(over="ignore"):
            packed = vectors.astype(_DTYPES[self.element_type])
        if not np.isfinite(packed).all():
            raise InvalidInputError([_FLOAT16_OVERFLOW])
        return [row.tobytes() for row in packed]


_FLOAT16_OVERFLOW = Violation(
    "vector.element_type",
    f"ELEMENT_TYPE_FLOAT16 holds at most {np.finfo(np.float16).max:g}, and a vector has a larger element: "
    "ask for ELEMENT_TYPE_FLOAT32 or NORMALIZATION_L2",
)


def normalize(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of `(batch, dimensionality)` float32 divided by their Euclidean norms; zeros stay zeros."""
    # In float64: squares of float32 overflow from 1e19 on, and vanish below 1e-19.
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    norms[norms == 0] = 1
    return (vectors / norms[:, np.newaxis]).astype(np.float32)
