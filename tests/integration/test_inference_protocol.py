"""The Open Inference Protocol over a real channel, beside the typed API."""

import io
from collections.abc import Mapping
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from numpy.typing import NDArray
from PIL import Image
from running_server import rpc_status, trailers
from tokenizers import Tokenizer
from torchvision.transforms import v2
from transformers import BitImageProcessor

from vecserve.oip import grpc_inference_service_pb2 as pb
from vecserve.oip.grpc_inference_service_pb2_grpc import GRPCInferenceServiceStub
from vecserve.v1 import embedding_service_pb2 as vecserve_pb
from vecserve.v1.embedding_service_pb2_grpc import EmbeddingServiceStub

TEXTS = ["a cat on a mat", "猫 und Straße", "x", "word " * 400]

Tensor = pb.ModelInferRequest.InferInputTensor


@pytest.fixture(scope="module")
def inference(channel: grpc.Channel) -> GRPCInferenceServiceStub:
    return GRPCInferenceServiceStub(channel)


@pytest.fixture(scope="module")
def tokenizer(example_models: Path) -> Tokenizer:
    """The model's own, as a client would load it."""
    tokenizer = Tokenizer.from_file(str(example_models / "all-minilm-l6-v2" / "1" / "tokenizer.json"))
    tokenizer.enable_truncation(256)
    tokenizer.enable_padding(length=300)
    return tokenizer


def text_request(*texts: str, **parameters: pb.InferParameter) -> pb.ModelInferRequest:
    contents = pb.InferTensorContents(bytes_contents=[text.encode() for text in texts])
    tensor = Tensor(name="text", datatype="BYTES", shape=[len(texts), 1], contents=contents)
    return pb.ModelInferRequest(model_name="all-minilm-l6-v2", inputs=[tensor], parameters=parameters)


def raw_request(model: str, tensors: Mapping[str, NDArray[np.generic] | list[bytes]]) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=model)
    datatypes = {"int64": "INT64", "int32": "INT32", "uint8": "UINT8", "float32": "FP32"}
    for name, elements in tensors.items():
        if isinstance(elements, list):
            request.inputs.add(name=name, datatype="BYTES", shape=[len(elements)])
            lengths = [len(element).to_bytes(4, "little") for element in elements]
            request.raw_input_contents.append(b"".join(sum(zip(lengths, elements, strict=True), ())))
        else:
            request.inputs.add(name=name, datatype=datatypes[str(elements.dtype)], shape=elements.shape)
            request.raw_input_contents.append(elements.tobytes())
    return request


def raw(response: pb.ModelInferResponse) -> bytes:
    (content,) = response.raw_output_contents
    return content


@pytest.fixture(scope="module")
def image() -> bytes:
    """A photograph's size, in PNG."""
    pixels = np.random.default_rng(7).integers(0, 256, (300, 400, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((640, 480)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[:20])
def test_a_text_has_the_same_vector_to_the_bit_whichever_way_it_comes(
    embedding: EmbeddingServiceStub, inference: GRPCInferenceServiceStub, tokenizer: Tokenizer, text: str
) -> None:
    typed = vecserve_pb.EmbedTextRequest(texts=[text])
    (streamed,) = embedding.StreamEmbed(iter([vecserve_pb.StreamEmbedRequest(id="1", text=typed)]))
    encoding = tokenizer.encode(text)
    tokens = {"input_ids": np.array([encoding.ids]), "attention_mask": np.array([encoding.attention_mask])}
    narrow = {name: values.astype(np.int32) for name, values in tokens.items()}

    vectors = {
        "EmbedText": embedding.EmbedText(typed).embeddings[0].values,
        "StreamEmbed": streamed.text.embeddings[0].values,
        "ModelInfer, contents": raw(inference.ModelInfer(text_request(text))),
        "ModelInfer, raw": raw(inference.ModelInfer(raw_request("all-minilm-l6-v2", {"text": [text.encode()]}))),
        "ModelInfer, INT64": raw(inference.ModelInfer(raw_request("all-minilm-l6-v2", tokens))),
        "ModelInfer, INT32": raw(inference.ModelInfer(raw_request("all-minilm-l6-v2", narrow))),
    }

    assert {way: np.frombuffer(vector, "<f4").shape for way, vector in vectors.items()} == dict.fromkeys(
        vectors, (384,)
    )
    assert len(set(vectors.values())) == 1, [way for way in vectors if vectors[way] != vectors["EmbedText"]]


def test_an_image_has_the_same_vector_to_the_bit_whichever_way_it_comes(
    embedding: EmbeddingServiceStub, inference: GRPCInferenceServiceStub, image: bytes
) -> None:
    typed = vecserve_pb.EmbedImageRequest(images=[vecserve_pb.Image(content=image)])
    transforms = v2.Compose([v2.Resize(232), v2.CenterCrop(224)])
    pixels = np.array(transforms(Image.open(io.BytesIO(image)).convert("RGB")))
    normalize = BitImageProcessor(
        do_resize=False,
        do_center_crop=False,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    normalized = np.asarray(normalize(pixels, return_tensors="np")["pixel_values"])
    assert (pixels.shape, normalized.shape) == ((224, 224, 3), (1, 3, 224, 224))

    vectors = {
        "EmbedImage": embedding.EmbedImage(typed).embeddings[0].values,
        "ModelInfer, image": raw(inference.ModelInfer(raw_request("resnet50", {"image": [image]}))),
        "ModelInfer, UINT8": raw(inference.ModelInfer(raw_request("resnet50", {"pixel_values": pixels[np.newaxis]}))),
        "ModelInfer, FP32": raw(inference.ModelInfer(raw_request("resnet50", {"pixel_values": normalized}))),
    }

    assert np.frombuffer(vectors["EmbedImage"], "<f4").shape == (2048,)
    assert len(set(vectors.values())) == 1, [way for way in vectors if vectors[way] != vectors["EmbedImage"]]


def test_a_batch_comes_back_as_one_tensor_in_order(inference: GRPCInferenceServiceStub) -> None:
    request = text_request(*TEXTS)
    request.id = "order-66"

    response = inference.ModelInfer(request)

    (output,) = response.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("embedding", "FP32", [4, 384])
    assert (response.model_name, response.model_version, response.id) == ("all-minilm-l6-v2", "1", "order-66")
    rows = np.frombuffer(raw(response), "<f4").reshape(4, 384)
    alone = [np.frombuffer(raw(inference.ModelInfer(text_request(text))), "<f4") for text in TEXTS]
    np.testing.assert_allclose(rows, alone, atol=1e-6)


def test_parameters_shape_the_vectors_as_options_of_the_typed_api_do(
    embedding: EmbeddingServiceStub, inference: GRPCInferenceServiceStub
) -> None:
    typed = embedding.EmbedText(
        vecserve_pb.EmbedTextRequest(
            texts=[TEXTS[3]],
            truncation=vecserve_pb.TRUNCATION_START,
            vector=vecserve_pb.VectorOptions(
                dimensionality=384,
                element_type=vecserve_pb.ELEMENT_TYPE_FLOAT16,
                normalization=vecserve_pb.NORMALIZATION_NONE,
            ),
        )
    )
    response = inference.ModelInfer(
        text_request(
            TEXTS[3],
            truncation=pb.InferParameter(string_param="start"),
            dimensionality=pb.InferParameter(int64_param=384),
            element_type=pb.InferParameter(string_param="FP16"),
            normalization=pb.InferParameter(string_param="none"),
            priority=pb.InferParameter(string_param="bulk"),
        )
    )

    assert response.outputs[0].datatype == "FP16"
    assert raw(response) == typed.embeddings[0].values


def test_a_request_id_is_echoed_and_timings_are_told(inference: GRPCInferenceServiceStub) -> None:
    _, call = inference.ModelInfer.with_call(text_request("x"), metadata=(("x-request-id", "order-67"),))

    told = trailers(call)
    assert told["x-request-id"] == "order-67"
    assert told["server-timing"].startswith("preprocess;dur=")


def test_a_timeout_that_has_passed_expires_the_call(inference: GRPCInferenceServiceStub) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        inference.ModelInfer(text_request(*TEXTS * 16, timeout=pb.InferParameter(int64_param=1)))

    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    info = ErrorInfo()
    rpc_status(raised.value).details[0].Unpack(info)
    assert info.reason == "ERROR_REASON_EXPIRED"


def test_an_unknown_priority_in_the_metadata_is_refused(inference: GRPCInferenceServiceStub) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        inference.ModelInfer(text_request("x"), metadata=(("x-vecserve-priority", "urgent"),))

    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_only_loaded_models_are_ready(inference: GRPCInferenceServiceStub) -> None:
    assert inference.ServerLive(pb.ServerLiveRequest()).live
    assert inference.ServerReady(pb.ServerReadyRequest()).ready
    asked = [("resnet50", ""), ("resnet50", "1"), ("resnet50", "2"), ("nope", "")]
    answers = [inference.ModelReady(pb.ModelReadyRequest(name=name, version=of)).ready for name, of in asked]
    assert answers == [True, True, False, False]


def test_statistics_count_calls_of_both_apis(
    embedding: EmbeddingServiceStub, inference: GRPCInferenceServiceStub
) -> None:
    def known() -> pb.ModelStatistics:
        (told,) = inference.ModelStatistics(pb.ModelStatisticsRequest(name="all-minilm-l6-v2")).model_stats
        return told

    before = known()
    inference.ModelInfer(text_request("one", "two", "three"))
    embedding.EmbedText(vecserve_pb.EmbedTextRequest(texts=["four"]))
    with pytest.raises(grpc.RpcError):
        inference.ModelInfer(text_request(""))
    after = known()

    assert after.inference_count - before.inference_count == 4
    assert 2 <= after.execution_count - before.execution_count <= 4
    stats, earlier = after.inference_stats, before.inference_stats
    assert stats.success.count - earlier.success.count == 2
    assert stats.fail.count - earlier.fail.count == 1
    stages = ("queue", "compute_input", "compute_infer", "compute_output")
    spent = {stage: getattr(stats, stage).ns - getattr(earlier, stage).ns for stage in stages}
    assert all(getattr(stats, stage).count - getattr(earlier, stage).count == 2 for stage in stages)
    assert spent["compute_infer"] > 100_000
    assert sum(spent.values()) == pytest.approx(stats.success.ns - earlier.success.ns, abs=1000)
    assert sum(batch.batch_size * batch.compute_infer.count for batch in after.batch_stats) == after.inference_count


def test_statistics_without_a_name_are_those_of_every_model(inference: GRPCInferenceServiceStub) -> None:
    told = inference.ModelStatistics(pb.ModelStatisticsRequest()).model_stats

    assert [(model.name, model.version) for model in told] == [("all-minilm-l6-v2", "1"), ("resnet50", "1")]


def test_a_method_of_tritons_that_is_not_there_is_unimplemented(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary("/inference.GRPCInferenceService/SystemSharedMemoryStatus")(b"")
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
