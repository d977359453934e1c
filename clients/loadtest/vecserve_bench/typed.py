"""vecserve's own API: EmbedText, EmbedImage and StreamEmbed."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from vecserve.models import ModelInfo
from vecserve.v1 import embedding_service_pb2 as pb
from vecserve.v1 import model_service_pb2 as model_pb
from vecserve_bench.api import ModelDetails, TargetError
from vecserve_bench.inputs import Kind
from vecserve_bench.single_call import CallError, call
from vecserve_loadtest import Status, Workload

_SERVICE = "/vecserve.v1.EmbeddingService"
_LIST_MODELS = "/vecserve.v1.ModelService/ListModels"
_METHODS: dict[Kind, str] = {"text": "EmbedText", "image": "EmbedImage"}
_DTYPES = {pb.ELEMENT_TYPE_FLOAT32: "<f4", pb.ELEMENT_TYPE_FLOAT16: "<f2"}

Metadata = tuple[tuple[str, str], ...]


class TypedApi:
    """Calls of one model, or of the server's default.

    Args:
        kind: What is embedded.
        name: The model's name; empty for the server's default.
        model: What the server says of it.
        prompt: Name of the prompt to put before texts; empty for none.
        streamed: Whether to send all over streams.
    """

    def __init__(self, kind: Kind, name: str, model: ModelDetails, prompt: str = "", *, streamed: bool = False) -> None:
        self.model = model
        self.streamed = streamed
        self.method = f"{_SERVICE}/{'StreamEmbed' if streamed else _METHODS[kind]}"
        self._kind = kind
        self._name = name
        self._prompt = prompt

    def request(self, inputs: Sequence[bytes]) -> bytes:
        if self._kind == "text":
            texts = [text.decode() for text in inputs]
            text = pb.EmbedTextRequest(model=self._name, texts=texts, prompt=self._prompt)
            request = pb.StreamEmbedRequest(text=text) if self.streamed else text
        else:
            image = pb.EmbedImageRequest(model=self._name, images=[pb.Image(content=content) for content in inputs])
            request = pb.StreamEmbedRequest(image=image) if self.streamed else image
        return request.SerializeToString()

    def vectors(self, response: bytes) -> npt.NDArray[np.floating]:
        try:
            answer = self._parsed(response)
        except DecodeError as error:
            raise ValueError("the response is no message of vecserve's API") from error
        if (dtype := _DTYPES.get(answer.format.element_type)) is None:
            raise ValueError(f"the response has vectors of element type {answer.format.element_type}")
        rows = [np.frombuffer(embedding.values, dtype) for embedding in answer.embeddings]
        if any(len(row) != answer.format.dimensionality for row in rows):
            raise ValueError(f"not every vector has {answer.format.dimensionality} elements")
        return np.stack(rows) if rows else np.empty((0, 0), np.float32)

    def _parsed(self, response: bytes) -> pb.EmbedTextResponse | pb.EmbedImageResponse:
        if self.streamed:
            answer = pb.StreamEmbedResponse.FromString(response)
            return answer.text if self._kind == "text" else answer.image
        kind = pb.EmbedTextResponse if self._kind == "text" else pb.EmbedImageResponse
        return kind.FromString(response)


def find_typed(
    address: str, name: str, kind: Kind | None, prompt: str = "", *, streamed: bool = False, metadata: Metadata = ()
) -> tuple[Kind, TypedApi]:
    """Return what to embed and how, from what the server says of its models.

    Args:
        address: The server's HOST:PORT.
        name: The model's name; empty for the default of its kind.
        kind: What to embed; None for what the model embeds, and texts where none is named.
        prompt: Name of the prompt to put before texts; empty for none.
        streamed: Whether to send all over streams.
        metadata: Sent with the question.

    Raises:
        LoadError: If there is no gRPC server at the address.
        TargetError: If it is no vecserve server.
    """
    models = _models(address, metadata)
    listed = next((model for model in models if model.name == name), None)
    chosen = kind or ("image" if listed and listed.modality == "image" else "text")
    default = next((model for model in models if model.default and model.modality == chosen), None)
    model = listed if name else default
    # A model that is not there is left to the server's own words, which say what is.
    details = _details(model) if model else ModelDetails(name)
    return chosen, TypedApi(chosen, name, details, prompt, streamed=streamed)


def _models(address: str, metadata: Metadata) -> list[ModelInfo]:
    models: list[ModelInfo] = []
    token = ""
    while True:
        request = model_pb.ListModelsRequest(page_token=token).SerializeToString()
        try:
            answer = model_pb.ListModelsResponse.FromString(call(address, Workload(_LIST_MODELS, [request], metadata)))
        except CallError as error:
            hint = (
                "; for an Open Inference Protocol server add --api oip" if error.status is Status.UNIMPLEMENTED else ""
            )
            raise TargetError(f"{address} does not list its models: {error.status.name}: {error}{hint}") from error
        models += [ModelInfo.from_proto(model) for model in answer.models]
        if not (token := answer.next_page_token):
            return models


def _details(model: ModelInfo) -> ModelDetails:
    return ModelDetails(
        name=model.name,
        version=model.version,
        digest=model.digest,
        modality=model.modality,
        dimensionality=model.dimensionality,
        precision=model.precision,
        execution_provider=model.execution_provider,
    )
