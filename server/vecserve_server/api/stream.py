"""StreamEmbed: many requests over one stream, answered as they finish."""

import asyncio
from collections.abc import AsyncIterator

from google.rpc.code_pb2 import Code
from grpc.aio import BaseError, ServicerContext

from vecserve.v1 import embedding_service_pb2 as pb
from vecserve_server.api.embedder import Embedder
from vecserve_server.api.errors import log_internal, to_status
from vecserve_server.api.gate import Gate
from vecserve_server.api.intake import Intake
from vecserve_server.api.malformed import parsed
from vecserve_server.api.metadata import terms
from vecserve_server.api.responses import serialized_for_stream
from vecserve_server.engine.errors import InvalidInputError, Violation
from vecserve_server.engine.terms import Terms
from vecserve_server.telemetry.calls import Call, current_call

Context = ServicerContext[bytes, bytes]


class EmbedStream:
    """One stream.

    At most `max_unanswered` of its requests are in the server; until then, and while the server holds as many bytes of
    requests as it may, it is read no further. When the server shuts down, what was read is answered, and the stream
    ends as not ready.
    """

    def __init__(self, gate: Gate, embedder: Embedder, intake: Intake, context: Context, max_unanswered: int) -> None:
        self._gate = gate
        self._embedder = embedder
        self._intake = intake
        self._context = context
        self._slots = asyncio.Semaphore(max_unanswered)
        self._unanswered: set[str] = set()
        self._writing = asyncio.Lock()

    async def answer(self, requests: AsyncIterator[bytes]) -> None:
        """Answers each serialized request once, in the order they finish.

        Raises:
            NotReadyError: the server is starting or shutting down.
        """
        self._gate.require_open()
        async with asyncio.TaskGroup() as answers:
            reading = asyncio.create_task(self._read(requests, answers))
            closing = asyncio.create_task(self._gate.closing.wait())
            try:
                await asyncio.wait((reading, closing), return_when=asyncio.FIRST_COMPLETED)
                if reading.done():
                    reading.result()
            finally:
                reading.cancel()
                closing.cancel()
        if not reading.done() or reading.cancelled():
            self._gate.require_open()

    async def _read(self, requests: AsyncIterator[bytes], answers: asyncio.TaskGroup) -> None:
        await self._slots.acquire()  # before there is a request: what was read is answered
        await self._intake.room()
        async for data in requests:
            answers.create_task(self._answer(data))
            await self._slots.acquire()
            await self._intake.room()

    async def _answer(self, data: bytes) -> None:
        message = current_call().begin_message()
        try:
            self._intake.stretch(len(data))
            try:
                response = await self._result(data, message)
            finally:
                self._intake.release(len(data))
            async with self._writing:
                await self._context.write(response)
        except BaseError:  # the caller has gone; gRPC ends the call by itself
            message.code = "CANCELLED"
        except asyncio.CancelledError:
            message.code = "CANCELLED"
            raise
        finally:
            message.end()
            self._slots.release()

    async def _result(self, data: bytes, message: Call) -> bytes:
        """The response to one request, serialized."""
        identity = ""
        try:
            request = parsed(pb.StreamEmbedRequest.FromString, data)
            identity = request.id
            return await self._embed(request)
        except Exception as error:
            log_internal(error, message.request_id)
            status = to_status(error, message.request_id)
            message.failed(error, Code.Name(status.code))
            return pb.StreamEmbedResponse(id=identity, error=status).SerializeToString()

    def _terms(self) -> Terms:
        """A full queue makes a stream wait, and so its sender, where a single call is refused."""
        return terms(self._context, self._embedder.clock(), waits_for_room=True)

    async def _embed(self, request: pb.StreamEmbedRequest) -> bytes:
        if request.id in self._unanswered:
            raise InvalidInputError([Violation("id", f"is '{request.id}', as is a request not yet answered")])
        self._unanswered.add(request.id)
        try:
            match request.WhichOneof("request"):
                case "text":
                    text, _ = await self._embedder.text(request.text, self._terms())
                    return serialized_for_stream(request.id, pb.EmbedTextResponse, text)
                case "image":
                    image, _ = await self._embedder.image(request.image, self._terms())
                    return serialized_for_stream(request.id, pb.EmbedImageResponse, image)
                case None:
                    raise InvalidInputError([Violation("request", "is not set: one of text, image is needed")])
        finally:
            self._unanswered.discard(request.id)
