"""A server of the Open Inference Protocol of a few lines: ModelMetadata and ModelInfer, with vectors by hashing."""

import struct
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from scripted_server import vector_of

from vecserve_bench.oip_messages import (
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataRequest,
    ModelMetadataResponse,
)

_LENGTH = struct.Struct("<I")


@dataclass
class InferenceServer:
    """Has one model, `encoder`."""

    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]] = field(
        default_factory=lambda: [{"name": "embedding", "datatype": "FP32", "shape": [-1, 8]}]
    )
    raw: bool = True
    """Whether vectors come in `raw_output_contents`."""
    requests: list[Any] = field(default_factory=list[Any])
    address: str = ""

    def metadata(self, request: Any, context: grpc.ServicerContext) -> bytes:
        if request.name != "encoder":
            context.abort(grpc.StatusCode.NOT_FOUND, f"unknown model: '{request.name}'")
        answer = ModelMetadataResponse(
            name="encoder", versions=["3"], platform="test", inputs=self.inputs, outputs=self.outputs
        )
        return answer.SerializeToString()

    def infer(self, request: Any, context: grpc.ServicerContext) -> bytes:
        self.requests.append(request)
        vectors = np.stack([vector_of(each) for each in _elements(request.raw_input_contents[0])])
        output: dict[str, Any] = {"name": "embedding", "datatype": "FP32", "shape": list(vectors.shape)}
        if not self.raw:
            output["contents"] = {"fp32_contents": vectors.ravel().tolist()}
        raw = [vectors.astype("<f4").tobytes()] if self.raw else []
        answer = ModelInferResponse(model_name="encoder", outputs=[output], raw_output_contents=raw)
        return answer.SerializeToString()


def _elements(raw: bytes) -> list[bytes]:
    found: list[bytes] = []
    while raw:
        (size,) = _LENGTH.unpack_from(raw)
        found.append(raw[4 : 4 + size])
        raw = raw[4 + size :]
    return found


@contextmanager
def inferring(inference: InferenceServer) -> Generator[InferenceServer, None, None]:
    """Serve on a free port until the block ends."""
    methods = {
        "ModelMetadata": grpc.unary_unary_rpc_method_handler(inference.metadata, ModelMetadataRequest.FromString),
        "ModelInfer": grpc.unary_unary_rpc_method_handler(inference.infer, ModelInferRequest.FromString),
    }
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("inference.GRPCInferenceService", methods),))
    inference.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield inference
    finally:
        server.stop(None).wait()
