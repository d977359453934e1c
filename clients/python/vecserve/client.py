"""The synchronous client."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from types import TracebackType
from typing import Any, Self, cast

import grpc

from vecserve import health
from vecserve.calls import EmbedRequest, EmbedResponse, Send, answer
from vecserve.channel import open_channel
from vecserve.chunks import Chunk, Dtype, Truncation, image_chunks, text_chunks, vector_options
from vecserve.embeddings import Embeddings, decoded, joined
from vecserve.flight import Flight
from vecserve.images import ImageInput
from vecserve.models import ModelInfo, ModelVersion
from vecserve.options import Attempts, Deadline, Options
from vecserve.retry import RetryPolicy
from vecserve.security import Tls, Token
from vecserve.v1 import admin_service_pb2, model_service_pb2
from vecserve.v1.admin_service_pb2_grpc import AdminServiceStub
from vecserve.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from vecserve.v1.model_service_pb2_grpc import ModelServiceStub


class Client:
    """A connection to a vecserve server. Threads may share one; it must be made after a fork, not before.

    Args:
        address: `HOST:PORT`, or another gRPC target such as `unix:/run/vecserve.sock`. Requests to several servers,
            `ipv4:10.0.0.1:50051,10.0.0.2:50051` or `dns:///NAME:PORT`, go to those in turn that say they serve.
        timeout: Seconds that one call of a method may take, with all its requests and their retries. The server
            drops work whose time is up, and refuses at once what it can't do in time.
        batch_size: Most inputs in one request. The server takes at most `ModelInfo.max_batch_count`.
        concurrency: Most requests that one call of a method has under way at once.
        retry: When and how often a refused request is sent again.
        tls: For TLS, `Tls()` or any of gRPC's channel credentials. None connects in plain text.
        token: Bearer token, or a function that returns the one of the moment and is asked before each request. A
            function may read a file anew: `lambda: Path("token").read_text().strip()`.
        plaintext_token: Send the token without TLS too, over a network where all on the way can read it.
        metadata: Sent with every request. An `x-request-id` here replaces the fresh one that each request otherwise
            gets.

    Raises:
        OSError: If a file of certificates or keys can't be read.
        ValueError: On an argument out of its range.
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
        self._channel = open_channel(self._options)
        self._embeddings = EmbeddingServiceStub(self._channel)
        self._models = ModelServiceStub(self._channel)
        self._admin = AdminServiceStub(self._channel)

    def embed_text(
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
        """Return the vectors of some texts, in order.

        Args:
            texts: One or more texts; a single `str` is refused.
            model: Name of a text model; empty for the server's default.
            prompt: Name of one of the model's prompts, put before every text; empty for none.
            truncation: Which end of a text too long for the model is cut off; `none` makes it an error.
            normalize: Whether to scale vectors to unit length; None leaves it to the model.
            dimensionality: Keep this many elements, one of `ModelInfo.supported_dimensionalities`; None keeps all.
            dtype: Element type, on the wire and of the array. `float16` halves what is transferred.
            timeout: Seconds that this call may take, instead of the client's own.

        Raises:
            TypeError: If `texts` isn't a sequence of texts.
            ValueError: If it is empty, or on an argument out of its range.
            VecserveError: If the call fails. Indices in its violations are those of `texts`.
        """
        deadline = self._options.deadline(timeout)
        vector = vector_options(normalize, dimensionality, dtype)
        batch_size = self._options.batch_size
        chunks = text_chunks(texts, batch_size, model=model, prompt=prompt, truncation=truncation, vector=vector)
        return self._embed(self._embeddings.EmbedText, chunks, deadline)

    def embed_images(
        self,
        images: Iterable[ImageInput],
        *,
        model: str = "",
        normalize: bool | None = None,
        dimensionality: int | None = None,
        dtype: Dtype = "float32",
        timeout: float | None = None,
    ) -> Embeddings:
        """Return the vectors of some images, in order.

        Files are read as their turn comes, so that many of them need not fit into memory.

        Args:
            images: One or more of: a path, an encoded image's bytes, a PIL image.
            model: Name of an image model; empty for the server's default.
            normalize: As for `embed_text`.
            dimensionality: As for `embed_text`.
            dtype: As for `embed_text`.
            timeout: As for `embed_text`.

        Raises:
            OSError: If a file can't be read.
            TypeError: If `images` isn't a sequence of images.
            ValueError: If it is empty, or on an argument out of its range.
            VecserveError: If the call fails. Indices in its violations are those of `images`.
        """
        deadline = self._options.deadline(timeout)
        vector = vector_options(normalize, dimensionality, dtype)
        chunks = image_chunks(images, self._options.batch_size, model=model, vector=vector)
        return self._embed(self._embeddings.EmbedImage, chunks, deadline)

    def models(self, *, timeout: float | None = None) -> list[ModelInfo]:
        """Return every model that the server has loaded, ordered by name.

        Raises:
            VecserveError: If the call fails.
        """
        deadline = self._options.deadline(timeout)
        request = model_service_pb2.ListModelsRequest()
        found: list[ModelInfo] = []
        while True:
            page = answer(self._models.ListModels, request, Attempts(self._options, deadline), time.sleep)
            found += map(ModelInfo.from_proto, page.models)
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    def model(self, name: str, *, timeout: float | None = None) -> ModelInfo:
        """Return one model.

        Raises:
            ModelNotFoundError: If the server has none of that name.
            VecserveError: If the call fails otherwise.
        """
        request = model_service_pb2.GetModelRequest(name=name)
        attempts = Attempts(self._options, self._options.deadline(timeout))
        return ModelInfo.from_proto(answer(self._models.GetModel, request, attempts, time.sleep))

    def load_model(self, name: str, version: str = "", *, timeout: float | None = None) -> list[ModelVersion]:
        """Have a version take over that is in the server's model repository, or the highest one there.

        Only servers that run with `--admin` do it. Calls go on meanwhile.

        Returns:
            Every version that is served under the name now, the highest last.

        Raises:
            ModelNotFoundError: If the repository has no such model or version.
            ModelLoadError: If it can't be served; what was served goes on.
            VecserveError: If the call fails otherwise.
        """
        request = admin_service_pb2.LoadModelRequest(name=name, version=version)
        attempts = Attempts(self._options, self._options.deadline(timeout))
        return [*map(ModelVersion.from_proto, answer(self._admin.LoadModel, request, attempts, time.sleep).versions)]

    def unload_model(self, name: str, *, timeout: float | None = None) -> list[ModelVersion]:
        """Have the server take a model out, and return the versions that it served; see `load_model`.

        Raises:
            ModelNotFoundError: If it isn't loaded.
            DefaultModelError: If it is what calls mean that name no model.
            VecserveError: If the call fails otherwise.
        """
        request = admin_service_pb2.UnloadModelRequest(name=name)
        attempts = Attempts(self._options, self._options.deadline(timeout))
        return [*map(ModelVersion.from_proto, answer(self._admin.UnloadModel, request, attempts, time.sleep).versions)]

    def is_serving(self, service: str = "", *, timeout: float | None = None) -> bool:
        """Return what grpc.health.v1 says of the whole server, or of something of it that has a name.

        Raises:
            ValueError: If the name is longer than names are.
            VecserveError: If the call fails, as for a name that the server doesn't know.
        """
        check = cast("Any", self._channel.unary_unary(health.CHECK))  # of bytes, which the stubs can't tell
        attempts = Attempts(self._options, self._options.deadline(timeout))
        return health.is_serving(answer(check, health.check_request(service), attempts, time.sleep))

    def close(self) -> None:
        """Close the connection. Calls that are under way in other threads are cancelled."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _embed(
        self,
        method: "grpc.UnaryUnaryMultiCallable[EmbedRequest, EmbedResponse]",
        chunks: Iterator[Chunk[EmbedRequest]],
        deadline: Deadline,
    ) -> Embeddings:
        first, second = next(chunks), next(chunks, None)
        if second is None:  # the common case, and threads would cost it some 0.1 ms
            return self._part(method, time.sleep, deadline, first)
        flight = Flight()
        part = partial(self._part, partial(flight.send, method), flight.sleep, deadline)
        return joined(flight.results(part, chain((first, second), chunks), self._options.concurrency))

    def _part(
        self,
        send: Send[EmbedRequest, EmbedResponse],
        sleep: Callable[[float], object],
        deadline: Deadline,
        chunk: Chunk[EmbedRequest],
    ) -> Embeddings:
        attempts = Attempts(self._options, deadline, chunk.start)
        return decoded(answer(send, chunk.request, attempts, sleep), chunk.count)
