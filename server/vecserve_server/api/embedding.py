"""EmbeddingService."""

from collections.abc import AsyncIterator

from grpc.aio import ServicerContext

from vecserve.v1 import embedding_service_pb2 as pb
from vecserve.v1 import embedding_service_pb2_grpc as pb_grpc
from vecserve_server.api.embedder import Embedder
from vecserve_server.api.gate import Gate
from vecserve_server.api.intake import Intake
from vecserve_server.api.metadata import SERVER_TIMING, add_trailing_metadata, server_timing, terms
from vecserve_server.api.stream import EmbedStream

SERVICE = pb.DESCRIPTOR.services_by_name["EmbeddingService"].full_name


class EmbeddingServicer(pb_grpc.EmbeddingServiceServicer):
    """Answers embedding calls with the engine behind a gate."""

    def __init__(self, gate: Gate, intake: Intake, *, max_items: int, max_stream_requests: int) -> None:
        self._gate = gate
        self._intake = intake
        self._embedder = Embedder(gate, max_items)
        self._max_stream_requests = max_stream_requests

    async def EmbedText(  # pyright: ignore[reportIncompatibleMethodOverride] (the response is serialized: see the interceptor)
        self, request: pb.EmbedTextRequest, context: ServicerContext[pb.EmbedTextRequest, pb.EmbedTextResponse]
    ) -> bytes:
        response, timings = await self._embedder.text(request, terms(context, self._embedder.clock()))
        add_trailing_metadata(context, SERVER_TIMING, server_timing(timings))
        return response

    async def EmbedImage(  # pyright: ignore[reportIncompatibleMethodOverride] (the response is serialized: see the interceptor)
        self, request: pb.EmbedImageRequest, context: ServicerContext[pb.EmbedImageRequest, pb.EmbedImageResponse]
    ) -> bytes:
        response, timings = await self._embedder.image(request, terms(context, self._embedder.clock()))
        add_trailing_metadata(context, SERVER_TIMING, server_timing(timings))
        return response

    async def StreamEmbed(  # pyright: ignore[reportIncompatibleMethodOverride] (the stubs know no handler that writes)
        self,
        request_iterator: AsyncIterator[bytes],  # as the interceptor leaves them
        context: ServicerContext[bytes, bytes],
    ) -> None:
        stream = EmbedStream(self._gate, self._embedder, self._intake, context, self._max_stream_requests)
        await stream.answer(request_iterator)
