"""The Open Inference Protocol: ModelInfer with encoded texts or images as BYTES."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from vecserve_bench.api import ModelDetails, TargetError
from vecserve_bench.inputs import Kind
from vecserve_bench.oip_messages import (
    SERVICE,
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataRequest,
    ModelMetadataResponse,
)
from vecserve_bench.single_call import CallError, call
from vecserve_loadtest import Status, Workload

_OUTPUT = "embedding"
_DTYPES = {"FP32": "<f4", "FP16": "<f2"}
_LENGTH = struct.Struct("<I")

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Tensors:
    """The tensors of a model that a call names."""

    input: str
    columns: bool
    """Whether the input's shape is `[n, 1]`, not `[n]`."""
    output: str = ""
    """Empty for all that there are."""


def oip_request(model: str, tensors: Tensors, inputs: Sequence[bytes]) -> bytes:
    """Return the serialized ModelInferRequest for texts in UTF-8 or encoded images, in `raw_input_contents`."""
    shape = [len(inputs), 1] if tensors.columns else [len(inputs)]
    request = ModelInferRequest(
        model_name=model,
        inputs=[{"name": tensors.input, "datatype": "BYTES", "shape": shape}],
        outputs=[{"name": tensors.output}] if tensors.output else [],
        raw_input_contents=[b"".join(_LENGTH.pack(len(each)) + each for each in inputs)],
    )
    return request.SerializeToString()


class OipApi:
    """Calls of one model.

    Args:
        model: What the server says of it.
        tensors: What calls name.
    """

    method = f"{SERVICE}/ModelInfer"
    streamed = False

    def __init__(self, model: ModelDetails, tensors: Tensors) -> None:
        self.model = model
        self._tensors = tensors

    def request(self, inputs: Sequence[bytes]) -> bytes:
        return oip_request(self.model.name, self._tensors, inputs)

    def vectors(self, response: bytes) -> npt.NDArray[np.floating]:
        try:
            answer = ModelInferResponse.FromString(response)
        except DecodeError as error:
            raise ValueError("the response is no ModelInferResponse") from error
        if len(answer.outputs) != 1:
            raise ValueError(f"the response has {len(answer.outputs)} outputs, and 1 was expected")
        return _matrix(answer.outputs[0], answer.raw_output_contents)


def find_oip(address: str, name: str, kind: Kind | None, metadata: Metadata = ()) -> tuple[Kind, OipApi]:
    """Return what to embed and how, from the model's metadata.

    The input is the one of datatype BYTES named `text` or `image`, or else the only one of that datatype.

    Args:
        address: The server's HOST:PORT.
        name: The model's name.
        kind: What to embed; None for what the input's name says, or texts.
        metadata: Sent with the question.

    Raises:
        LoadError: If there is no gRPC server at the address.
        TargetError: If there is no such model, or none of its inputs takes texts or encoded images.
    """
    if not name:
        raise TargetError("--api oip needs --model NAME: the protocol knows no default model")
    request = ModelMetadataRequest(name=name).SerializeToString()
    try:
        answer = call(address, Workload(f"{SERVICE}/ModelMetadata", [request], metadata))
    except CallError as error:
        hint = "; for vecserve's own API leave --api oip out" if error.status is Status.UNIMPLEMENTED else ""
        raise TargetError(f"{address} does not describe model '{name}': {error.status.name}: {error}{hint}") from error
    described = ModelMetadataResponse.FromString(answer)
    tensors = _tensors(described, kind)
    chosen = kind or ("image" if tensors.input == "image" else "text")
    return chosen, OipApi(_details(name, described, tensors), tensors)


def _tensors(described: Any, kind: Kind | None) -> Tensors:
    named = [tensor for tensor in described.inputs if tensor.datatype == "BYTES"]
    exact = [tensor for tensor in named if tensor.name in ((kind,) if kind else ("text", "image"))]
    others = [tensor for tensor in named if tensor.name not in ("text", "image")]
    if not (found := exact[:1] or (others if len(others) == 1 else [])):
        inputs = ", ".join(f"{tensor.name} ({tensor.datatype})" for tensor in described.inputs) or "none"
        wanted = f"{kind}s" if kind else "texts or encoded images"
        raise TargetError(f"model '{described.name}' has no input for {wanted} as BYTES; its inputs are: {inputs}")
    outputs = [tensor.name for tensor in described.outputs]
    return Tensors(found[0].name, columns=len(found[0].shape) == 2, output=_OUTPUT if _OUTPUT in outputs else "")


def _details(name: str, described: Any, tensors: Tensors) -> ModelDetails:
    modality = tensors.input if tensors.input in ("text", "image") else ""
    version = described.versions[0] if described.versions else ""
    output = next((each for each in described.outputs if each.name == tensors.output), None)
    dimensionality = max(0, output.shape[-1]) if output and output.shape else 0
    return ModelDetails(
        name, version=version, modality=modality, dimensionality=dimensionality, platform=described.platform
    )


def _matrix(output: Any, raw: Sequence[bytes]) -> npt.NDArray[np.floating]:
    if output.datatype not in _DTYPES:
        raise ValueError(f"output {output.name} has datatype {output.datatype}, and vectors are FP32 or FP16")
    if raw:
        flat = np.frombuffer(raw[0], _DTYPES[output.datatype])
    else:
        flat = np.array(output.contents.fp32_contents, np.float32)
    return flat.reshape(tuple(output.shape))
