"""Requests to responses, whichever way they came: resolve the model, check, embed, encode."""

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

from vecserve.v1 import embedding_service_pb2 as pb
from vecserve_server.api.gate import Gate
from vecserve_server.api.requests import image_inputs, naming, text_inputs
from vecserve_server.api.vectors import VectorEncoding
from vecserve_server.engine.engine import Embeddings
from vecserve_server.engine.terms import Terms
from vecserve_server.engine.timings import Timings
from vecserve_server.models.model import AnyModel
from vecserve_server.telemetry.calls import current_call

ResponseT = TypeVar("ResponseT", pb.EmbedTextResponse, pb.EmbedImageResponse)


class Embedder:
    """Answers single requests; unary calls and streams share it.

    Both methods raise any `EngineError`.
    """

    def __init__(self, gate: Gate, max_items: int) -> None:
        self._gate = gate
        self._max_items = max_items

    @property
    def clock(self) -> Callable[[], float]:
        """The engine's, in which deadlines are told."""
        return self._gate.engine.clock

    async def text(self, request: pb.EmbedTextRequest, terms: Terms) -> tuple[pb.EmbedTextResponse, Timings]:
        engine = self._gate.engine
        call = current_call()
        call.model = model = engine.catalog.text_model(request.model)
        inputs = text_inputs(request, model, self._max_items)
        encoding = VectorEncoding.of(request.vector, model.manifest)
        terms.normalized = encoding.takes_normalized
        call.embeds(inputs, terms)
        with naming("texts[{}]"):
            result = await engine.embed_texts(model, inputs, terms)
        return _response(pb.EmbedTextResponse, result, encoding, model), result.timings

    async def image(self, request: pb.EmbedImageRequest, terms: Terms) -> tuple[pb.EmbedImageResponse, Timings]:
        engine = self._gate.engine
        call = current_call()
        call.model = model = engine.catalog.image_model(request.model)
        inputs = image_inputs(request, model, self._max_items)
        encoding = VectorEncoding.of(request.vector, model.manifest)
        terms.normalized = encoding.takes_normalized
        call.embeds(inputs, terms)
        with naming("images[{}].content"):
            result = await engine.embed_images(model, inputs, terms)
        return _response(pb.EmbedImageResponse, result, encoding, model), result.timings


def model_version(model: AnyModel) -> pb.ModelVersion:
    """Which model computed a response."""
    return _version(*_identity(model))


def _identity(model: AnyModel) -> tuple[str, str, str]:
    return model.name, model.version, model.manifest.graph_digest


def _version(name: str, version: str, digest: str) -> pb.ModelVersion:
    return pb.ModelVersion(name=name, version=version, digest=digest)


def _response(kind: type[ResponseT], result: Embeddings, encoding: VectorEncoding, model: AnyModel) -> ResponseT:
    identity, response = _identity(model), kind()
    response.CopyFrom(_blank(kind, identity, encoding))
    add = response.embeddings.add  # in place: an embedding that was made before would be copied
    for values, item in zip(encoding.encode(result), result.items, strict=True):
        add(values=values, token_count=item.token_count, truncated=item.truncated)
    return response


@lru_cache(maxsize=256)
def _blank(kind: type[ResponseT], identity: tuple[str, str, str], encoding: VectorEncoding) -> ResponseT:
    """What all responses of one model in one encoding have in common. Not to be changed."""
    return kind(format=encoding.format, model=_version(*identity))
