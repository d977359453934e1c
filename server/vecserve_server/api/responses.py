"""Responses that carry vectors, serialized.

A message of protobuf's would be filled with copies of the vectors, copied again as it is serialized, and once more into
Python's bytes. Here they are put between what stands around them, as protobuf's encoding has it
(protobuf.dev/programming-guides/encoding): of 32 vectors, with nothing in the processor's caches, that takes 40 µs
instead of 84.
"""

from functools import lru_cache
from typing import TypeAlias

from vecserve.v1 import embedding_service_pb2 as pb
from vecserve_server.api.vectors import VectorEncoding
from vecserve_server.engine.engine import Embeddings
from vecserve_server.models.model import AnyModel

Kind: TypeAlias = type[pb.EmbedTextResponse] | type[pb.EmbedImageResponse]

_STREAM_FIELDS: dict[Kind, int] = {
    pb.EmbedTextResponse: pb.StreamEmbedResponse.TEXT_FIELD_NUMBER,
    pb.EmbedImageResponse: pb.StreamEmbedResponse.IMAGE_FIELD_NUMBER,
}
_LENGTH_DELIMITED = 2


def model_version(model: AnyModel) -> pb.ModelVersion:
    """Which model computed a response."""
    return _version(*_identity(model))


def serialized(kind: Kind, result: Embeddings, encoding: VectorEncoding, model: AnyModel) -> bytes:
    """The response to one request.

    Raises:
        InvalidInputError: an element is too large for float16.
    """
    parts: list[bytes | memoryview] = []
    for values, item in zip(encoding.encode(result), result.items, strict=True):
        head, tail = _around_values(kind, len(values), item.token_count, item.truncated)
        parts += (head, values, tail)
    parts.append(_common(kind, _identity(model), encoding))
    return b"".join(parts)


def serialized_for_stream(request_id: str, kind: Kind, response: bytes) -> bytes:
    """The `StreamEmbedResponse` that carries a serialized response to a request of that id."""
    identity = pb.StreamEmbedResponse(id=request_id).SerializeToString()
    return identity + _head(_STREAM_FIELDS[kind], len(response)) + response


@lru_cache(maxsize=4096)
def _around_values(kind: Kind, size: int, token_count: int, truncated: bool) -> tuple[bytes, bytes]:
    """What stands before and after the `size` bytes of an embedding's values."""
    head = _head(pb.Embedding.VALUES_FIELD_NUMBER, size)
    tail = pb.Embedding(token_count=token_count, truncated=truncated).SerializeToString()
    return _head(kind.EMBEDDINGS_FIELD_NUMBER, len(head) + size + len(tail)) + head, tail


@lru_cache(maxsize=256)
def _common(kind: Kind, identity: tuple[str, str, str], encoding: VectorEncoding) -> bytes:
    """What all responses of one model in one encoding have in common."""
    return kind(format=encoding.format, model=_version(*identity)).SerializeToString()


def _identity(model: AnyModel) -> tuple[str, str, str]:
    return model.name, model.version, model.manifest.graph_digest


def _version(name: str, version: str, digest: str) -> pb.ModelVersion:
    return pb.ModelVersion(name=name, version=version, digest=digest)


def _head(field: int, size: int) -> bytes:
    """The tag and the length of a field of `size` bytes."""
    return _varint(field << 3 | _LENGTH_DELIMITED) + _varint(size)


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that more follow."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
