"""From responses to arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import grpc
import numpy as np
import numpy.typing as npt

from vecserve.errors import BadResponseError, ModelChangedError
from vecserve.models import ModelVersion
from vecserve.v1 import embedding_service_pb2 as pb

_DTYPES = {pb.ELEMENT_TYPE_FLOAT32: np.dtype("<f4"), pb.ELEMENT_TYPE_FLOAT16: np.dtype("<f2")}


@dataclass(frozen=True, slots=True, eq=False)  # the generated == would ask arrays for a truth value
class Embeddings:
    """The vectors of one call, in the order of its inputs."""

    vectors: npt.NDArray[np.float32 | np.float16]
    """`(inputs, dimensionality)` float32 or float16, C-contiguous and the caller's to change."""
    token_counts: npt.NDArray[np.int32]
    """`(inputs,)` int32: tokens that the model read, special tokens included. 0 for images."""
    truncated: npt.NDArray[np.bool_]
    """`(inputs,)` bool: whether an input was cut to fit the model."""
    model: ModelVersion
    """What computed them."""
    normalized: bool
    """Whether each vector was scaled to unit length."""

    def __len__(self) -> int:
        return len(self.vectors)


def decoded(response: pb.EmbedTextResponse | pb.EmbedImageResponse, count: int) -> Embeddings:
    """Return a response's vectors as arrays.

    Raises:
        BadResponseError: If it doesn't hold `count` whole vectors in a format that this client knows.
    """
    embeddings = response.embeddings
    if len(embeddings) != count:
        raise _bad_response(f"{count} inputs were answered by {len(embeddings)} vectors")
    return Embeddings(
        vectors=_vectors(embeddings, response.format),
        token_counts=np.array([embedding.token_count for embedding in embeddings], np.int32),
        truncated=np.array([embedding.truncated for embedding in embeddings], np.bool_),
        model=ModelVersion.from_proto(response.model),
        normalized=response.format.normalization == pb.NORMALIZATION_L2,
    )


def joined(parts: Sequence[Embeddings]) -> Embeddings:
    """Return the parts of one call as a whole.

    Raises:
        ModelChangedError: If different models computed them.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    for part in parts:
        _check_same_model(first.model, part.model)
    return Embeddings(
        vectors=np.concatenate([part.vectors for part in parts]),
        token_counts=np.concatenate([part.token_counts for part in parts]),
        truncated=np.concatenate([part.truncated for part in parts]),
        model=first.model,
        normalized=first.normalized,
    )


def _vectors(embeddings: Sequence[pb.Embedding], form: pb.VectorFormat) -> npt.NDArray[np.float32 | np.float16]:
    wire = _DTYPES.get(form.element_type)
    if wire is None:
        raise _bad_response(f"vectors came in element type {form.element_type}, which this client doesn't know")
    size = form.dimensionality * wire.itemsize
    if any(len(embedding.values) != size for embedding in embeddings):
        raise _bad_response(f"a vector isn't {size} bytes, as {form.dimensionality} elements of {wire.name} are")
    # A bytearray, unlike bytes, makes the array writable without another copy.
    packed = bytearray().join([embedding.values for embedding in embeddings])
    native = np.frombuffer(packed, wire).astype(wire.newbyteorder("="), copy=False)
    return native.reshape(len(embeddings), form.dimensionality)


def _check_same_model(one: ModelVersion, other: ModelVersion) -> None:
    if one.digest != other.digest:
        raise ModelChangedError(
            f"model {one.name} changed during the call, from version {one.version} ({one.digest}) "
            f"to {other.version} ({other.digest}): repeat the call",
            code=grpc.StatusCode.ABORTED,
        )


def _bad_response(fault: str) -> BadResponseError:
    return BadResponseError(f"the server's answer contradicts the API: {fault}", code=grpc.StatusCode.INTERNAL)
