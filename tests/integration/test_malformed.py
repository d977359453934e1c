"""Requests that are wrong in a hundred ways: each gets the documented code and details, and the server serves on."""

import base64
import copy
import io
import random
from collections.abc import Iterator
from dataclasses import dataclass

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, ResourceInfo
from PIL import Image
from running_server import rpc_status, trailers

from vecserve.oip import grpc_inference_service_pb2 as oip_pb
from vecserve.v1 import embedding_service_pb2 as pb
from vecserve.v1 import model_service_pb2 as model_pb
from vecserve.v1.embedding_service_pb2_grpc import EmbeddingServiceStub

TEXT = "/vecserve.v1.EmbeddingService/EmbedText"
IMAGE = "/vecserve.v1.EmbeddingService/EmbedImage"
GET = "/vecserve.v1.ModelService/GetModel"
LIST = "/vecserve.v1.ModelService/ListModels"
INFER = "/inference.GRPCInferenceService/ModelInfer"
METADATA = "/inference.GRPCInferenceService/ModelMetadata"

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND


@dataclass(frozen=True)
class Case:
    """A request, and what is to be said of it."""

    name: str
    method: str
    request: bytes
    fields: tuple[str, ...] = ("request",)
    """Of the BadRequest, or the name in the ResourceInfo."""
    reason: str = "INVALID_INPUT"
    code: grpc.StatusCode = INVALID


def case(name: str, method: str, request: Message, *fields: str, reason: str = "INVALID_INPUT") -> Case:
    code = NOT_FOUND if reason == "MODEL_NOT_FOUND" else INVALID
    return Case(name, method, request.SerializeToString(), fields, reason, code)


def png(size: tuple[int, int] = (9, 7), mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, "PNG")
    return file.getvalue()


def saved(form: str, mode: str = "RGB", size: tuple[int, int] = (64, 48)) -> bytes:
    file = io.BytesIO()
    Image.effect_noise(size, 90).convert(mode).save(file, form)
    return file.getvalue()


def images(*contents: bytes) -> pb.EmbedImageRequest:
    return pb.EmbedImageRequest(images=[pb.Image(content=content) for content in contents])


def huge_png() -> bytes:
    """The header of 60000 x 60000 pixels, and no pixels."""
    return png()[:16] + (60000).to_bytes(4, "big") * 2 + png()[24:]


def option_cases() -> Iterator[Case]:
    for method, request in ((TEXT, pb.EmbedTextRequest(texts=["a"])), (IMAGE, images(png()))):
        for number in (-1, 3, 99, 2**31 - 1):
            for field in ("element_type", "normalization"):
                bad = copy.deepcopy(request)
                setattr(bad.vector, field, number)
                yield case(f"{field}={number}", method, bad, f"vector.{field}")
        for number in (-1, 1, 383, 4096, -(2**31)):
            bad = copy.deepcopy(request)
            bad.vector.dimensionality = number
            yield case(f"dimensionality={number}", method, bad, "vector.dimensionality")
    for number in (-7, 4, 1000):
        bad = pb.EmbedTextRequest(texts=["a"])
        bad.truncation = number  # pyright: ignore[reportAttributeAccessIssue] (not a value of the enum: the point)
        yield case(f"truncation={number}", TEXT, bad, "truncation")
    yield case("unknown prompt", TEXT, pb.EmbedTextRequest(texts=["a"], prompt="query"), "prompt")
    everything = pb.EmbedTextRequest(prompt="no", vector=pb.VectorOptions(dimensionality=-5))
    yield case("everything at once", TEXT, everything, "texts", "prompt", "vector.dimensionality")


def model_cases() -> Iterator[Case]:
    for name in ("nope", "ALL-MINILM-L6-V2", "../resnet50", "all-minilm-l6-v2@9", " ", "é" * 200, "a/b"):
        not_found = pb.EmbedTextRequest(texts=["a"], model=name)
        yield case(f"text model {name:.20}", TEXT, not_found, name, reason="MODEL_NOT_FOUND")
        yield case(f"get {name:.20}", GET, model_pb.GetModelRequest(name=name), name, reason="MODEL_NOT_FOUND")
    nope = pb.EmbedImageRequest(images=[pb.Image(content=png())], model="nope")
    yield case("image model nope", IMAGE, nope, "nope", reason="MODEL_NOT_FOUND")
    wrong = pb.EmbedTextRequest(texts=["a"], model="resnet50")
    yield case("text to resnet50", TEXT, wrong, "model", reason="WRONG_MODALITY")
    wrong_image = pb.EmbedImageRequest(images=[pb.Image(content=png())], model="all-minilm-l6-v2")
    yield case("image to minilm", IMAGE, wrong_image, "model", reason="WRONG_MODALITY")
    yield case("get without a name", GET, model_pb.GetModelRequest(), "name")
    yield case("negative page", LIST, model_pb.ListModelsRequest(page_size=-1), "page_size")


def item_cases() -> Iterator[Case]:
    yield case("no texts", TEXT, pb.EmbedTextRequest(), "texts")
    yield case("no images", IMAGE, pb.EmbedImageRequest(), "images")
    yield case("257 texts", TEXT, pb.EmbedTextRequest(texts=["a"] * 257), "texts", reason="BATCH_TOO_LARGE")
    yield case("257 images", IMAGE, images(*[b""] * 257), "images", reason="BATCH_TOO_LARGE")
    yield case("an empty text", TEXT, pb.EmbedTextRequest(texts=["a", "", "b", ""]), "texts[1]", "texts[3]")
    yield case("a long text", TEXT, pb.EmbedTextRequest(texts=["x" * 1_000_001]), "texts[0]")
    too_long = pb.EmbedTextRequest(texts=["a", "b " * 500, "", "c " * 255], truncation=pb.TRUNCATION_NONE)
    yield case("too many tokens", TEXT, too_long, "texts[1]", "texts[2]", "texts[3]")
    yield case("an empty image", IMAGE, images(png(), b"", png()), "images[1].content")
    yield case("a huge image", IMAGE, images(huge_png()), "images[0].content")
    yield case("a thin image", IMAGE, images(png((1, 3000))), "images[0].content")
    yield case("a heavy image", IMAGE, images(b"\x89PNG" + bytes(21 * 2**20)), "images[0].content")
    yield case("all bad images", IMAGE, images(b"x", png(), b"", huge_png()), *_contents(0, 2, 3))
    floats = io.BytesIO()
    Image.new("F", (9, 9)).save(floats, "TIFF")
    yield case("float pixels", IMAGE, images(floats.getvalue()), "images[0].content")
    for name, content in {
        "text": b"not an image",
        "zeros": bytes(1000),
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "pdf": b"%PDF-1.7\n",
        "zip": b"PK\x03\x04" + bytes(100),
        "html": b"<!doctype html><title>404</title>",
        "a path": b"/etc/passwd",
        "base64": base64.b64encode(png()),
        "ppm": saved("PPM"),
        "ico": saved("ICO"),
    }.items():
        yield case(f"{name} as an image", IMAGE, images(content), "images[0].content")
    for form in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"):
        whole = saved(form)
        yield case(f"half a {form}", IMAGE, images(whole[: len(whole) // 2]), "images[0].content")
        yield case(f"the first bytes of a {form}", IMAGE, images(whole[:9]), "images[0].content")


def _contents(*indices: int) -> list[str]:
    return [f"images[{index}].content" for index in indices]


def infer(
    inputs: dict[str, tuple[str, list[int], bytes]], model: str = "all-minilm-l6-v2", **parameters: str
) -> oip_pb.ModelInferRequest:
    """A request with raw contents; an input is its datatype, shape and elements."""
    tensor = oip_pb.ModelInferRequest.InferInputTensor
    return oip_pb.ModelInferRequest(
        model_name=model,
        inputs=[tensor(name=name, datatype=kind, shape=shape) for name, (kind, shape, _) in inputs.items()],
        raw_input_contents=[raw for _, _, raw in inputs.values()],
        parameters={name: oip_pb.InferParameter(string_param=value) for name, value in parameters.items()},
    )


def tokens(ids: list[list[int]], mask: list[list[int]] | None = None) -> oip_pb.ModelInferRequest:
    rows = {"input_ids": ids, "attention_mask": mask or [[1] * len(row) for row in ids]}
    return infer(
        {
            name: (
                "INT64",
                [len(of), len(of[0])],
                b"".join(n.to_bytes(8, "little", signed=True) for row in of for n in row),
            )
            for name, of in rows.items()
        }
    )


def inference_cases() -> Iterator[Case]:
    cat = ("BYTES", [1, 1], b"\3\0\0\0cat")
    for name in ("nope", "a/b"):
        yield case(f"infer {name}", INFER, infer({"text": cat}, model=name), name, reason="MODEL_NOT_FOUND")
    version = infer({"text": cat})
    version.model_version = "7"
    yield case("infer version 7", INFER, version, "all-minilm-l6-v2@7", reason="MODEL_NOT_FOUND")
    nope = oip_pb.ModelMetadataRequest(name="nope")
    yield case("metadata of nope", METADATA, nope, "nope", reason="MODEL_NOT_FOUND")
    yield case("metadata of nothing", METADATA, oip_pb.ModelMetadataRequest(), "name")
    yield case("infer without a model", INFER, infer({"text": cat}, model=""), "model_name")
    yield case("infer nothing", INFER, infer({}), "inputs")
    yield case("text to resnet50", INFER, infer({"text": cat}, model="resnet50"), "inputs")
    yield case("ids without a mask", INFER, infer({"input_ids": ("INT64", [1, 1], bytes(8))}), "inputs")
    yield case("an unknown parameter", INFER, infer({"text": cat}, sequence_id="1"), "parameters.sequence_id")
    yield case("a wrong parameter", INFER, infer({"text": cat}, truncation="left"), "parameters.truncation")
    yield case("an empty text", INFER, infer({"text": ("BYTES", [2], b"\1\0\0\0a\0\0\0\0")}), "inputs.text[1]")
    yield case("a text of bytes", INFER, infer({"text": ("BYTES", [1], b"\1\0\0\0\xff")}), "inputs.text[0]")
    yield case("257 raw texts", INFER, infer({"text": ("BYTES", [257], b"")}), "inputs.text", reason="BATCH_TOO_LARGE")
    yield case(
        "ids beyond memory",
        INFER,
        infer({"input_ids": ("INT64", [1, 2**62], b""), "attention_mask": ("INT64", [1, 2**62], b"")}),
        "inputs.input_ids",
        "inputs.attention_mask",
    )
    yield case("a broken element", INFER, infer({"text": ("BYTES", [1], b"\xff\xff\xff\xffa")}), "inputs.text")
    for number in (-1, 30522, 2**62, -(2**63)):
        yield case(f"the id {number}", INFER, tokens([[101, 102], [101, number]]), "inputs.input_ids[1]")
    yield case("257 tokens", INFER, tokens([[101] * 257]), "inputs.input_ids[0]")
    yield case("no tokens", INFER, tokens([[0], [101]], [[0], [1]]), "inputs.input_ids[0]")
    yield case("a mask with holes", INFER, tokens([[101, 0, 102]], [[1, 0, 1]]), "inputs.input_ids[0]")
    yield case("a narrow mask", INFER, tokens([[101, 102]], [[1]]), "inputs.attention_mask.shape")
    image = infer({"image": ("BYTES", [1], b"\4\0\0\0cat?")}, model="resnet50")
    yield case("no image", INFER, image, "inputs.image[0]")
    for kind, shape, bits in (("FP32", [1, 3, 224, 224], b"\0\0\xc0\x7f"), ("FP32", [1, 3, 224, 224], b"\0\0\x80B")):
        pixels = infer({"pixel_values": (kind, shape, bits * (3 * 224 * 224))}, model="resnet50")
        yield case(f"pixels of {bits.hex()}", INFER, pixels, "inputs.pixel_values[0]")
    small = infer({"pixel_values": ("UINT8", [1, 3, 224, 224], b"")}, model="resnet50")
    yield case("pixels in another order", INFER, small, "inputs.pixel_values.shape")


def wire_cases() -> Iterator[Case]:
    draw = random.Random(3)
    for index, method in enumerate((TEXT, IMAGE, GET, LIST, INFER) * 3):
        garbage = b"\x0a\xff" + draw.randbytes(3 + index * 7)  # a field longer than what follows
        yield Case(f"garbage {index}", method, garbage)
    yield Case("a text that is not UTF-8", TEXT, b"\x12\x02\xff\xfe")
    yield Case("a model that is not UTF-8", IMAGE, b"\x0a\x01\xc0")
    yield Case("a cut message", TEXT, pb.EmbedTextRequest(texts=["hello"]).SerializeToString()[:-2])
    yield Case("a group never closed", TEXT, b"\x0b\x10\x01")
    yield Case("a varint without end", LIST, b"\x08" + b"\xff" * 11)


CASES = [*option_cases(), *model_cases(), *item_cases(), *inference_cases(), *wire_cases()]


def call(channel: grpc.Channel, case: Case) -> grpc.RpcError:
    send = channel.unary_unary(case.method)
    with pytest.raises(grpc.RpcError) as raised:
        send(case.request, timeout=60)
    return raised.value


def details(error: grpc.RpcError) -> tuple[ErrorInfo, BadRequest, ResourceInfo]:
    assert trailers(error)["x-request-id"]
    unpacked = ErrorInfo(), BadRequest(), ResourceInfo()
    for detail in rpc_status(error).details:
        for message in unpacked:
            detail.Unpack(message)
    return unpacked


def test_there_are_a_hundred_cases_of_different_kinds() -> None:
    assert len(CASES) >= 100
    assert len({(case.method, case.name) for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.method.rpartition('/')[2]}: {case.name}")
def test_a_malformed_request_is_told_what_is_wrong_where(channel: grpc.Channel, case: Case) -> None:
    error = call(channel, case)
    assert error.code() is case.code, error.details()
    info, bad_request, resource = details(error)
    assert (info.domain, info.reason) == ("vecserve", f"ERROR_REASON_{case.reason}")
    if case.code is NOT_FOUND:
        assert resource.resource_name == case.fields[0]
    else:
        assert tuple(violation.field for violation in bad_request.field_violations) == case.fields
        assert all(violation.description for violation in bad_request.field_violations)


def test_the_server_serves_on(channel: grpc.Channel, embedding: EmbeddingServiceStub) -> None:
    for case in CASES:
        call(channel, case)
    assert len(embedding.EmbedText(pb.EmbedTextRequest(texts=["still here"])).embeddings) == 1
    assert len(embedding.EmbedImage(images(png())).embeddings) == 1


def test_a_method_that_is_not_there_is_unimplemented(channel: grpc.Channel) -> None:
    error = call(channel, Case("", "/vecserve.v1.EmbeddingService/EmbedAudio", b""))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_message_over_the_limit_is_resource_exhausted(channel: grpc.Channel) -> None:
    error = call(channel, Case("", IMAGE, bytes(65 * 2**20)))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
