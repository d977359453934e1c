"""Vectors as the caller wants them: cut, normalized, packed."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vecserve.v1 import embedding_service_pb2 as pb
from vecserve_server.engine.engine import Embeddings
from vecserve_server.engine.errors import InvalidInputError, Violation
from vecserve_server.engine.norms import euclidean_norms, normalize
from vecserve_server.engine.rows import pack
from vecserve_server.models.manifest import Manifest

NORMALIZATIONS = {"none": pb.NORMALIZATION_NONE, "l2": pb.NORMALIZATION_L2}


class VectorEncoding(NamedTuple):
    """What a response does to the model's vectors, nothing left unspecified."""

    dimensionality: int
    element_type: pb.ElementType.ValueType
    normalization: pb.Normalization.ValueType
    model_dimensionality: int

    @classmethod
    def of(cls, options: pb.VectorOptions, manifest: Manifest) -> "VectorEncoding":
        """Fills what the caller left open with the model's defaults."""
        return cls(
            options.dimensionality or manifest.dimensionality,
            options.element_type or pb.ELEMENT_TYPE_FLOAT32,
            options.normalization or NORMALIZATIONS[manifest.normalization],
            manifest.dimensionality,
        )

    @property
    def format(self) -> pb.VectorFormat:
        """The same, as responses state it."""
        return pb.VectorFormat(
            dimensionality=self.dimensionality, element_type=self.element_type, normalization=self.normalization
        )

    @property
    def is_cut(self) -> bool:
        """Whether it leaves out some of the model's dimensions."""
        return self.dimensionality < self.model_dimensionality

    @property
    def takes_normalized(self) -> bool:
        """Whether the engine is to normalize: it does so for a whole batch, but knows nothing of cutting."""
        return self.normalization == pb.NORMALIZATION_L2 and not self.is_cut

    def encode(self, embeddings: Embeddings) -> Sequence[bytes | memoryview]:
        """Packs each vector, of embeddings that are normalized if this `takes_normalized`.

        Raises:
            InvalidInputError: an element is too large for float16.
        """
        if not self.is_cut and self.element_type == pb.ELEMENT_TYPE_FLOAT32:
            return embeddings.rows
        vectors = embeddings.vectors
        if self.is_cut:
            vectors = vectors[:, : self.dimensionality]
            if self.normalization == pb.NORMALIZATION_L2:
                vectors = normalize(vectors, euclidean_norms(vectors))
        return pack(_float16(vectors) if self.element_type == pb.ELEMENT_TYPE_FLOAT16 else vectors)


_FLOAT16_OVERFLOW = Violation(
    "vector.element_type",
    f"ELEMENT_TYPE_FLOAT16 holds at most {np.finfo(np.float16).max:g}, and a vector has a larger element: "
    "ask for ELEMENT_TYPE_FLOAT32 or NORMALIZATION_L2",
)


def _float16(vectors: NDArray[np.float32]) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        packed = vectors.astype(np.float16)
    if not np.isfinite(packed).all():
        raise InvalidInputError([_FLOAT16_OVERFLOW])
    return packed
