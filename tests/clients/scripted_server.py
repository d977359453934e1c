"""A vecserve server of a few lines: it embeds by hashing, records its calls, and fails as a test scripts."""
# ruff: noqa: N802 - gRPC finds handlers by their names in the proto

import hashlib
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Never

import grpc
import numpy as np
import numpy.typing as npt
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from vecserve.v1 import embedding_service_pb2 as pb
from vecserve.v1 import embedding_service_pb2_grpc, model_service_pb2, model_service_pb2_grpc

DIMENSIONALITY = 8
DIGEST = f"sha256:{64 * 'a'}"

FIDELITY: dict[str, Any] = {
    "probe_set": "texts-1",
    "samples": 256,
    "max_absolute_error": 0.15,
    "min_cosine": 0.984,
    "p1_cosine": 0.99,
    "mean_cosine": 0.998,
    "max_similarity_error": 0.05,
    "mean_similarity_error": 0.009,
    "min_rank_correlation": 0.97,
    "mean_rank_correlation": 0.99,
    "mean_top10_overlap": 0.945,
    "max_batch_difference": 3e-8,
    "min_batch_cosine": 1.0,
}


def vector_of(content: str | bytes) -> npt.NDArray[np.float32]:
    """The vector that the server gives an input: `(8,)` float32, exact in float16 too."""
    packed = hashlib.sha256(content.encode() if isinstance(content, str) else content).digest()
    return np.frombuffer(packed[:DIMENSIONALITY], np.uint8).astype(np.float32) / np.float32(256)


@dataclass(frozen=True)
class Failure:
    """How a call fails."""

    code: grpc.StatusCode
    reason: str = ""
    message: str = "scripted"
    details: tuple[Message, ...] = ()

    def status(self) -> status_pb2.Status:
        packed = status_pb2.Status(code=self.code.value[0], message=self.message)
        if self.reason:
            packed.details.add().Pack(error_details_pb2.ErrorInfo(reason=self.reason, domain="vecserve"))
        for detail in self.details:
            packed.details.add().Pack(detail)
        return packed


def overloaded(retry_after: int) -> Failure:
    hint = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=retry_after))
    return Failure(grpc.StatusCode.UNAVAILABLE, "ERROR_REASON_OVERLOADED", "the queue is full", (hint,))


def invalid(fields: dict[str, str]) -> Failure:
    """Descriptions by field, e.g. `texts[3]`."""
    listed = [error_details_pb2.BadRequest.FieldViolation(field=f, description=d) for f, d in fields.items()]
    message = f"{len(fields)} invalid: {', '.join(fields)}"
    request = error_details_pb2.BadRequest(field_violations=listed)
    return Failure(grpc.StatusCode.INVALID_ARGUMENT, "ERROR_REASON_INVALID_INPUT", message, (request,))


@dataclass
class Call:
    """A call that reached the server."""

    request: Any
    metadata: dict[str, str]
    time_remaining: float


Script = Callable[[Any, grpc.ServicerContext], Failure | None]


@dataclass
class Server(embedding_service_pb2_grpc.EmbeddingServiceServicer, model_service_pb2_grpc.ModelServiceServicer):
    """Answers until `script`, asked at each call, returns a failure."""

    script: Script = lambda request, context: None
    digest: Callable[[Any], str] = lambda request: DIGEST
    distort: Callable[[pb.EmbedTextResponse], None] = lambda response: None
    models: list[model_service_pb2.Model] = field(default_factory=list[model_service_pb2.Model])
    address: str = ""
    calls: list[Call] = field(default_factory=list[Call])
    most_under_way: int = 0
    _under_way: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def EmbedText(self, request: pb.EmbedTextRequest, context: grpc.ServicerContext) -> pb.EmbedTextResponse:
        with self._handling(request, context):
            items = [
                pb.Embedding(
                    values=_values(text, request.vector),
                    token_count=len(text.split()) + 2,
                    truncated=len(text) > 100,
                )
                for text in request.texts
            ]
            response = pb.EmbedTextResponse(
                embeddings=items, format=_format(request.vector), model=self._version(request)
            )
            self.distort(response)
            return response

    def EmbedImage(self, request: pb.EmbedImageRequest, context: grpc.ServicerContext) -> pb.EmbedImageResponse:
        with self._handling(request, context):
            items = [pb.Embedding(values=_values(image.content, request.vector)) for image in request.images]
            return pb.EmbedImageResponse(embeddings=items, format=_format(request.vector), model=self._version(request))

    def StreamEmbed(self, request_iterator: object, context: grpc.ServicerContext) -> Never:
        raise NotImplementedError

    def GetModel(
        self, request: model_service_pb2.GetModelRequest, context: grpc.ServicerContext
    ) -> model_service_pb2.Model:
        with self._handling(request, context):
            found = [model for model in self.models if model.name == request.name]
            return found[0] if found else _fail(_no_such_model(request.name), context)

    def ListModels(
        self, request: model_service_pb2.ListModelsRequest, context: grpc.ServicerContext
    ) -> model_service_pb2.ListModelsResponse:
        """Pages of two."""
        with self._handling(request, context):
            start = int(request.page_token or 0)
            end = start + 2
            token = str(end) if end < len(self.models) else ""
            return model_service_pb2.ListModelsResponse(models=self.models[start:end], next_page_token=token)

    @contextmanager
    def _handling(self, request: Any, context: grpc.ServicerContext) -> Generator[None, None, None]:
        metadata = {key: str(value) for key, value in context.invocation_metadata()}
        timing = "preprocess;dur=0.5, queue;dur=1.5, infer;dur=2"
        echoed = (("x-request-id", metadata.get("x-request-id", "")), ("server-timing", timing))
        context.set_trailing_metadata(echoed)
        with self._lock:
            self.calls.append(Call(request, metadata, context.time_remaining()))
            self._under_way += 1
            self.most_under_way = max(self.most_under_way, self._under_way)
        try:
            failure = self.script(request, context)
            if failure is not None:
                _fail(failure, context)
            yield
        finally:
            with self._lock:
                self._under_way -= 1

    def _version(self, request: pb.EmbedTextRequest | pb.EmbedImageRequest) -> pb.ModelVersion:
        return pb.ModelVersion(name=request.model or "default", version="1", digest=self.digest(request))


@contextmanager
def running(server: Server) -> Generator[Server, None, None]:
    """Serve on a free port until the block ends."""
    threads = ThreadPoolExecutor(16)
    listener = grpc.server(threads, options=[("grpc.max_receive_message_length", -1)])
    embedding_service_pb2_grpc.add_EmbeddingServiceServicer_to_server(server, listener)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(server, listener)
    server.address = f"127.0.0.1:{listener.add_insecure_port('127.0.0.1:0')}"
    listener.start()
    try:
        yield server
    finally:
        listener.stop(None).wait()
        threads.shutdown()


def _values(content: str | bytes, options: pb.VectorOptions) -> bytes:
    half = options.element_type == pb.ELEMENT_TYPE_FLOAT16
    return vector_of(content)[: _format(options).dimensionality].astype("<f2" if half else "<f4").tobytes()


def _format(options: pb.VectorOptions) -> pb.VectorFormat:
    return pb.VectorFormat(
        dimensionality=options.dimensionality or DIMENSIONALITY,
        element_type=options.element_type or pb.ELEMENT_TYPE_FLOAT32,
        normalization=options.normalization or pb.NORMALIZATION_L2,
    )


def _no_such_model(name: str) -> Failure:
    resource = error_details_pb2.ResourceInfo(resource_type="vecserve.v1.Model", resource_name=name)
    return Failure(grpc.StatusCode.NOT_FOUND, "ERROR_REASON_MODEL_NOT_FOUND", f"no model {name}", (resource,))


def _fail(failure: Failure, context: grpc.ServicerContext) -> Never:
    request_id = str(dict(context.invocation_metadata()).get("x-request-id", ""))
    encoded = failure.status().SerializeToString()
    context.set_trailing_metadata((("x-request-id", request_id), ("grpc-status-details-bin", encoded)))
    context.abort(failure.code, failure.message)
