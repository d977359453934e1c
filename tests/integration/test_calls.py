"""What callers may ask of a vector, and what comes back beside it."""

import re
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from numpy.typing import NDArray
from running_server import rpc_status, serving, trailers

from vecserve.v1 import embedding_service_pb2 as pb
from vecserve.v1 import model_service_pb2 as model_pb
from vecserve.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from vecserve.v1.model_service_pb2_grpc import ModelServiceStub

TEXTS = ["a cat on a mat", "a dog in the fog, barking at nobody in particular"]
WORDS = [f"word{number}" for number in range(400)]


def vectors(response: pb.EmbedTextResponse, dtype: str = "<f4") -> NDArray[np.float32]:
    return np.stack([np.frombuffer(item.values, dtype) for item in response.embeddings])


def embed(stub: EmbeddingServiceStub, texts: list[str], **options: int) -> pb.EmbedTextResponse:
    return stub.EmbedText(pb.EmbedTextRequest(texts=texts, vector=pb.VectorOptions(**options)))  # pyright: ignore[reportArgumentType] (enums are ints)


def test_left_open_options_give_the_models_own_vectors_as_float32(embedding: EmbeddingServiceStub) -> None:
    response = embed(embedding, TEXTS)
    assert response.format == pb.VectorFormat(
        dimensionality=384, element_type=pb.ELEMENT_TYPE_FLOAT32, normalization=pb.NORMALIZATION_L2
    )
    assert np.linalg.norm(vectors(response), axis=1) == pytest.approx(1, abs=1e-6)


def test_float16_is_the_float32_vector_rounded(embedding: EmbeddingServiceStub) -> None:
    halves = embed(embedding, TEXTS, element_type=pb.ELEMENT_TYPE_FLOAT16)
    assert halves.format.element_type == pb.ELEMENT_TYPE_FLOAT16
    np.testing.assert_allclose(vectors(halves, "<f2"), vectors(embed(embedding, TEXTS)), atol=3e-4)


def test_unnormalized_vectors_point_the_same_way(embedding: EmbeddingServiceStub) -> None:
    raw = embed(embedding, TEXTS, normalization=pb.NORMALIZATION_NONE)
    lengths = np.linalg.norm(vectors(raw), axis=1, keepdims=True)
    assert raw.format.normalization == pb.NORMALIZATION_NONE
    assert np.abs(lengths - 1).min() > 0.1
    np.testing.assert_allclose(vectors(raw) / lengths, vectors(embed(embedding, TEXTS)), atol=1e-6)


@pytest.mark.parametrize(
    ("truncation", "kept"),
    [(pb.TRUNCATION_END, slice(0, 120)), (pb.TRUNCATION_START, slice(-120, None)), (0, slice(0, 120))],
)
def test_truncation_keeps_the_other_end(
    embedding: EmbeddingServiceStub, truncation: pb.Truncation.ValueType, kept: slice
) -> None:
    # Far more than 256 tokens, of which 120 words on either end are more than fit.
    request = pb.EmbedTextRequest(texts=[" ".join(WORDS), " ".join(WORDS[kept])], truncation=truncation)
    response = embedding.EmbedText(request)
    assert [item.truncated for item in response.embeddings] == [True, True]
    assert [item.token_count for item in response.embeddings] == [256, 256]
    np.testing.assert_allclose(*vectors(response), atol=1e-6)


def test_a_text_that_fits_is_not_truncated(embedding: EmbeddingServiceStub) -> None:
    fits = pb.EmbedTextRequest(texts=["one two three"], truncation=pb.TRUNCATION_NONE)
    (item,) = embedding.EmbedText(fits).embeddings
    assert (item.token_count, item.truncated) == (5, False)


def test_the_response_names_the_model_that_computed_it(
    embedding: EmbeddingServiceStub, models: ModelServiceStub
) -> None:
    listed = models.GetModel(model_pb.GetModelRequest(name="all-minilm-l6-v2"))
    answered = embed(embedding, TEXTS).model
    assert (answered.name, answered.version, answered.digest) == (listed.name, "1", listed.digest)
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", answered.digest)


def test_models_are_described_and_listed_in_pages(models: ModelServiceStub) -> None:
    first = models.ListModels(model_pb.ListModelsRequest(page_size=1))
    second = models.ListModels(model_pb.ListModelsRequest(page_size=1, page_token=first.next_page_token))
    names = [model.name for model in (*first.models, *second.models)]
    assert names == ["all-minilm-l6-v2", "resnet50"]
    assert second.next_page_token == ""
    resnet50 = second.models[-1]
    assert resnet50 == model_pb.Model(
        name="resnet50",
        version="1",
        digest=resnet50.digest,
        modality=model_pb.MODALITY_IMAGE,
        dimensionality=2048,
        supported_dimensionalities=[2048],
        default_normalization=pb.NORMALIZATION_NONE,
        pooling="pool",
        max_batch_count=256,
        precision="fp32",
        source="random:0",
        execution_provider="CPUExecutionProvider",
        default=True,
        fidelity=resnet50.fidelity,
    )
    fidelity = resnet50.fidelity
    assert (fidelity.probe_set, fidelity.samples) == ("images-1", 64)
    assert 0.99999 < fidelity.min_cosine <= fidelity.p1_cosine <= fidelity.mean_cosine <= 1
    assert fidelity.max_batch_difference < 1e-5


def test_a_request_id_is_echoed_and_timings_are_told(embedding: EmbeddingServiceStub) -> None:
    _, call = embedding.EmbedText.with_call(pb.EmbedTextRequest(texts=TEXTS), metadata=(("x-request-id", "order-66"),))
    told = trailers(call)
    assert told["x-request-id"] == "order-66"
    assert re.fullmatch(r"preprocess;dur=[\d.]+, queue;dur=[\d.]+, infer;dur=[\d.]+", told["server-timing"])


def test_a_call_without_a_request_id_is_given_one(embedding: EmbeddingServiceStub) -> None:
    _, call = embedding.EmbedText.with_call(pb.EmbedTextRequest(texts=TEXTS))
    assert re.fullmatch(r"[0-9a-f]{32}", trailers(call)["x-request-id"])


def test_overload_is_refused_at_once_with_the_delay_to_retry_after(example_models: Path) -> None:
    work = pb.EmbedTextRequest(texts=[" ".join(WORDS)] * 16)
    with serving(example_models, "--max-queue-seconds", "0.1") as running, running.channel() as channel:
        stub = EmbeddingServiceStub(channel)
        calls = [stub.EmbedText.future(work) for _ in range(12)]
        failures = [call.exception() for call in calls]
    refused = [error for error in failures if isinstance(error, grpc.RpcError)]
    assert 0 < len(refused) < len(calls)
    for error in refused:
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        info, retry = ErrorInfo(), RetryInfo()
        for detail in rpc_status(error).details:
            detail.Unpack(info)
            detail.Unpack(retry)
        assert info.reason == "ERROR_REASON_OVERLOADED"
        assert retry.retry_delay.ToTimedelta().total_seconds() > 0
