"""Requests to responses, whichever way they came: resolve the model, check, embed, serialize."""

from collections.abc import Callable

from vecserve.v1 import embedding_service_pb2 as pb
from vecserve_server.api.gate import Gate
from vecserve_server.api.requests import image_inputs, naming, text_inputs
from vecserve_server.api.responses import serialized
from vecserve_server.api.vectors import VectorEncoding
from vecserve_server.engine.terms import Terms
from vecserve_server.engine.timings import Timings
from vecserve_server.telemetry.calls import current_call


class Embedder:
    """Answers single requests; unary calls and streams share it.

    Both methods return the response serialized, and raise any `EngineError`.
    """

    def __init__(self, gate: Gate, max_items: int) -> None:
        self._gate = gate
        self._max_items = max_items

    @property
    def clock(self) -> Callable[[], float]:
        """The engine's, in which deadlines are told."""
        return self._gate.engine.clock

    async def text(self, request: pb.EmbedTextRequest, terms: Terms) -> tuple[bytes, Timings]:
        engine = self._gate.engine
        call = current_call()
        call.model = model = engine.catalog.text_model(request.model)
        inputs = text_inputs(request, model, self._max_items)
        encoding = VectorEncoding.of(request.vector, model.manifest)
        terms.normalized = encoding.takes_normalized
        call.embeds(inputs, terms)
        with naming("texts[{}]"):
            result = await engine.embed_texts(model, inputs, terms)
        return serialized(pb.EmbedTextResponse, result, encoding, model), result.timings

    async def image(self, request: pb.EmbedImageRequest, terms: Terms) -> tuple[bytes, Timings]:
        engine = self._gate.engine
        call = current_call()
        call.model = model = engine.catalog.image_model(request.model)
        inputs = image_inputs(request, model, self._max_items)
        encoding = VectorEncoding.of(request.vector, model.manifest)
        terms.normalized = encoding.takes_normalized
        call.embeds(inputs, terms)
        with naming("images[{}].content"):
            result = await engine.embed_images(model, inputs, terms)
        return serialized(pb.EmbedImageResponse, result, encoding, model), result.timings
