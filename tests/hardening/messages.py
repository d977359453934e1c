"""Requests of every method that the server has, valid ones and what seeded mutation makes of them."""

import io
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from PIL import Image

from vecserve.oip import grpc_inference_service_pb2 as oip
from vecserve.v1 import embedding_service_pb2 as pb
from vecserve.v1 import model_service_pb2 as model_pb

TEXT = "/vecserve.v1.EmbeddingService/EmbedText"
IMAGE = "/vecserve.v1.EmbeddingService/EmbedImage"
STREAM = "/vecserve.v1.EmbeddingService/StreamEmbed"
INFER = "/inference.GRPCInferenceService/ModelInfer"
CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
REFLECTIONS = tuple(
    f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo" for version in ("v1", "v1alpha")
)

TEXT_MODEL, IMAGE_MODEL = "all-minilm-l6-v2", "resnet50"


@dataclass(frozen=True)
class Request:
    """What one call sends."""

    method: str
    messages: tuple[bytes, ...]
    streams: bool = False
    """Whether the method takes and gives several messages."""


def valid_requests() -> list[Request]:
    """At least one for each method."""
    unary = [Request(method, (b"",)) for method in _unary_methods()]
    unary += [Request(method, (message.SerializeToString(),)) for method, message in _examples()]
    streamed = [pb.StreamEmbedRequest(id="1", text=_texts()), pb.StreamEmbedRequest(id="2", image=_images())]
    named = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="vecserve.v1.EmbeddingService"),
        reflection_pb2.ServerReflectionRequest(file_by_filename="vecserve/v1/model_service.proto"),
        reflection_pb2.ServerReflectionRequest(all_extension_numbers_of_type="vecserve.v1.Image"),
    ]
    streams = [Request(STREAM, tuple(each.SerializeToString() for each in streamed), streams=True)]
    streams += [Request(each, tuple(name.SerializeToString() for name in named), streams=True) for each in REFLECTIONS]
    return [*unary, *streams]


def fuzzed(seed: int) -> Iterator[Request]:
    """Endless requests: random bytes, and valid messages changed a little or a lot."""
    draw = random.Random(seed)
    valid = valid_requests()
    while True:
        request = draw.choice(valid)
        make = draw.choices((_noise, _mutated, lambda draw, message: message), (2, 7, 1))[0]
        count = draw.randint(0, 5) if request.streams else 1
        messages = tuple(make(draw, draw.choice(request.messages)) for _ in range(count))
        yield Request(request.method, messages, request.streams)


def png(size: tuple[int, int] = (24, 16)) -> bytes:
    """A small image."""
    file = io.BytesIO()
    Image.new("RGB", size, "teal").save(file, "PNG")
    return file.getvalue()


def _unary_methods() -> Iterator[str]:
    """Those whose requests may be empty, too."""
    for file in (pb, model_pb, oip):
        for service in file.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                if not method.client_streaming:
                    assert issubclass(GetMessageClass(method.input_type), Message)
                    yield f"/{service.full_name}/{method.name}"
    yield CHECK


def _examples() -> Iterator[tuple[str, Message]]:
    yield TEXT, _texts()
    yield (
        TEXT,
        pb.EmbedTextRequest(
            texts=["a", "b"], vector=pb.VectorOptions(element_type=pb.ELEMENT_TYPE_FLOAT16, dimensionality=384)
        ),
    )
    yield IMAGE, _images()
    yield "/vecserve.v1.ModelService/GetModel", model_pb.GetModelRequest(name=TEXT_MODEL)
    yield "/vecserve.v1.ModelService/ListModels", model_pb.ListModelsRequest(page_size=1)
    yield CHECK, health_pb2.HealthCheckRequest(service="vecserve.v1.EmbeddingService")
    for method in ("ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics"):
        if request := getattr(oip, f"{method}Request", None):
            yield f"/inference.GRPCInferenceService/{method}", request(name=TEXT_MODEL)
    yield INFER, _infer(TEXT_MODEL, "text", "BYTES", [2], b"\3\0\0\0cat\3\0\0\0dog")
    yield INFER, _infer(IMAGE_MODEL, "pixel_values", "UINT8", [1, 224, 224, 3], bytes(224 * 224 * 3))
    tokens = _infer(TEXT_MODEL, "input_ids", "INT64", [1, 2], struct.pack("<2q", 101, 102))
    tokens.MergeFrom(_infer("", "attention_mask", "INT64", [1, 2], struct.pack("<2q", 1, 1)))
    yield INFER, tokens


def _texts() -> pb.EmbedTextRequest:
    return pb.EmbedTextRequest(
        model=TEXT_MODEL, texts=["a cat on a mat", "ein Hund im Nebel", "犬"], truncation=pb.TRUNCATION_END
    )


def _images() -> pb.EmbedImageRequest:
    return pb.EmbedImageRequest(model=IMAGE_MODEL, images=[pb.Image(content=png())])


def _infer(model: str, name: str, datatype: str, shape: list[int], raw: bytes) -> oip.ModelInferRequest:
    tensor = oip.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape)
    return oip.ModelInferRequest(model_name=model, inputs=[tensor], raw_input_contents=[raw])


def _noise(draw: random.Random, _: bytes) -> bytes:
    return draw.randbytes(int(draw.paretovariate(0.7)) % 4096)


def _mutated(draw: random.Random, message: bytes) -> bytes:
    data = bytearray(message)
    for _ in range(draw.randint(1, 4)):
        draw.choice(_MUTATIONS)(draw, data)
    return bytes(data)


def _flip(draw: random.Random, data: bytearray) -> None:
    if data:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def _overwrite(draw: random.Random, data: bytearray) -> None:
    if data:
        data[draw.randrange(len(data))] = draw.choice((0, 1, 0x7F, 0x80, 0xFF))


def _cut(draw: random.Random, data: bytearray) -> None:
    start = draw.randint(0, len(data))
    del data[start : start + draw.randint(1, 8)]


def _end(draw: random.Random, data: bytearray) -> None:
    del data[draw.randint(0, len(data)) :]


def _repeat(draw: random.Random, data: bytearray) -> None:
    start = draw.randint(0, len(data))
    part = data[start : start + draw.randint(1, 64)]
    data[start:start] = part * draw.randint(1, 8)


def _insert(draw: random.Random, data: bytearray) -> None:
    """Random bytes, or a field with a length or a number that is out of proportion."""
    field = draw.randint(1, 15) << 3
    extreme = draw.choice(
        (b"\xff" * 9 + b"\x01", b"\xff\xff\xff\xff\x0f", b"\x80\x80\x80\x80\x08", b"\x80" * 9 + b"\x01")
    )
    inserted = draw.choice((draw.randbytes(draw.randint(1, 12)), bytes([field | draw.choice((0, 2))]) + extreme))
    start = draw.randint(0, len(data))
    data[start:start] = inserted


_MUTATIONS: tuple[Callable[[random.Random, bytearray], None], ...] = (_flip, _overwrite, _cut, _end, _repeat, _insert)
