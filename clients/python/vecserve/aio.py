"""The asynchronous client."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self, cast

import grpc

from vecserve import health
from vecserve.calls import EmbedRequest, EmbedResponse, SendAsync, answer_async
from vecserve.channel import open_aio_channel
from vecserve.chunks import Chunk, Dtype, Truncation, image_chunks, text_chunks, vector_options
from vecserve.embeddings import Embeddings, decoded, joined
from vecserve.flight import results_async
from vecserve.images import ImageInput
from vecserve.models import ModelInfo
from vecserve.options import Attempts, Deadline, Options
from vecserve.retry import RetryPolicy
from vecserve.security import Tls, Token
from vecserve.v1 import model_service_pb2
from vecserve.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from vecserve.v1.model_service_pb2_grpc import ModelServiceStub


class _Connection:
    def __init__(self, options: Options) -> None:
        self.channel = open_aio_channel(options)
        self.embeddings = EmbeddingServiceStub(self.channel)
        self.models = ModelServiceStub(self.channel)


class AsyncClient:
    """`Client` for asyncio: the same arguments, methods and errors.

    It may be made anywhere, and belongs to the event loop that first uses it.
    """

    def __init__(
        self,
        address: str = "127.0.0.1:50051",
        *,
        timeout: float = 30.0,
        batch_size: int = 32,
        concurrency: int = 4,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen, so that sharing one is safe
        tls: Tls | grpc.ChannelCredentials | None = None,
        token: Token | None = None,
        plaintext_token: bool = False,
        metadata: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._options = Options(
            *(address, timeout, batch_size, concurrency, retry, tls, token, plaintext_token, tuple(metadata))
        )
        self._connection: _Connection | None = None

    async def embed_text(
        self,
        texts: Iterable[str],
        *,
        model: str = "",
        prompt: str = "",
        truncation: Truncation = "end",
        normalize: bool | None = None,
        dimensionality: int | None = None,
        dtype: Dtype = "float32",
        timeout: float | None = None,
    ) -> Embeddings:
        """Return the vectors of some texts, in order. As `Client.embed_text`."""
        deadline = self._options.deadline(timeout)
        vector = vector_options(normalize, dimensionality, dtype)
        batch_size = self._options.batch_size
        chunks = text_chunks(texts, batch_size, model=model, prompt=prompt, truncation=truncation, vector=vector)
        return await self._embed(self._connected().embeddings.EmbedText, partial(_taken, chunks), deadline)

    async def embed_images(
        self,
        images: Iterable[ImageInput],
        *,
        model: str = "",
        normalize: bool | None = None,
        dimensionality: int | None = None,
        dtype: Dtype = "float32",
        timeout: float | None = None,
    ) -> Embeddings:
        """Return the vectors of some images, in order. As `Client.embed_images`; files are read in a thread."""
        deadline = self._options.deadline(timeout)
        vector = vector_options(normalize, dimensionality, dtype)
        chunks = image_chunks(images, self._options.batch_size, model=model, vector=vector)
        return await self._embed(self._connected().embeddings.EmbedImage, partial(_taken_in_thread, chunks), deadline)

    async def models(self, *, timeout: float | None = None) -> list[ModelInfo]:
        """Return every model that the server has loaded, ordered by name. As `Client.models`."""
        deadline = self._options.deadline(timeout)
        request = model_service_pb2.ListModelsRequest()
        found: list[ModelInfo] = []
        while True:
            attempts = Attempts(self._options, deadline)
            page = await answer_async(self._connected().models.ListModels, request, attempts)
            found += map(ModelInfo.from_proto, page.models)
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def model(self, name: str, *, timeout: float | None = None) -> ModelInfo:
        """Return one model. As `Client.model`."""
        request = model_service_pb2.GetModelRequest(name=name)
        attempts = Attempts(self._options, self._options.deadline(timeout))
        return ModelInfo.from_proto(await answer_async(self._connected().models.GetModel, request, attempts))

    async def is_serving(self, service: str = "", *, timeout: float | None = None) -> bool:
        """Return what grpc.health.v1 says of the server. As `Client.is_serving`."""
        check = cast("Any", self._connected().channel.unary_unary(health.CHECK))  # of bytes, which the stubs can't tell
        attempts = Attempts(self._options, self._options.deadline(timeout))
        return health.is_serving(await answer_async(check, health.check_request(service), attempts))

    async def close(self) -> None:
        """Close the connection. Calls that are under way are cancelled."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _connected(self) -> _Connection:
        if self._connection is None:  # a channel binds to the loop that runs when it is made
            self._connection = _Connection(self._options)
        return self._connection

    async def _embed(
        self,
        send: SendAsync[EmbedRequest, EmbedResponse],
        take: Callable[[], Awaitable[Chunk[EmbedRequest] | None]],
        deadline: Deadline,
    ) -> Embeddings:
        part = partial(self._part, send, deadline)
        return joined(await results_async(part, take, self._options.concurrency))

    async def _part(
        self, send: SendAsync[EmbedRequest, EmbedResponse], deadline: Deadline, chunk: Chunk[EmbedRequest]
    ) -> Embeddings:
        attempts = Attempts(self._options, deadline, chunk.start)
        return decoded(await answer_async(send, chunk.request, attempts), chunk.count)


async def _taken(chunks: Iterator[Chunk[EmbedRequest]]) -> Chunk[EmbedRequest] | None:
    return next(chunks, None)


async def _taken_in_thread(chunks: Iterator[Chunk[EmbedRequest]]) -> Chunk[EmbedRequest] | None:
    return await asyncio.to_thread(next, chunks, None)
