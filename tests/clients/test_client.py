import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from scripted_server import DIGEST, FIDELITY, Failure, Server, overloaded, vector_of

import vecserve
from vecserve import Client, RetryPolicy
from vecserve.v1 import embedding_service_pb2 as pb
from vecserve.v1 import model_service_pb2

Connect = Callable[..., Client]


def texts_of(call: Any) -> list[str]:
    return list(call.request.texts)


def test_vectors_come_back_in_the_order_of_the_texts(client: Client) -> None:
    texts = ["one", "two words", "three", "two words"]

    embeddings = client.embed_text(texts)

    np.testing.assert_array_equal(embeddings.vectors, [vector_of(text) for text in texts])
    assert embeddings.token_counts.tolist() == [3, 4, 3, 4]
    assert len(embeddings) == 4


def test_options_travel_to_the_server(client: Client, server: Server) -> None:
    client.embed_text(
        ["a"], model="m", prompt="query", truncation="start", normalize=False, dimensionality=4, dtype="float16"
    )

    assert server.calls[0].request == pb.EmbedTextRequest(
        model="m",
        texts=["a"],
        prompt="query",
        truncation=pb.TRUNCATION_START,
        vector=pb.VectorOptions(
            dimensionality=4, element_type=pb.ELEMENT_TYPE_FLOAT16, normalization=pb.NORMALIZATION_NONE
        ),
    )


def test_what_is_left_open_is_left_to_the_model(client: Client, server: Server) -> None:
    client.embed_images([b"image"])

    vector = server.calls[0].request.vector
    assert (vector.dimensionality, vector.normalization) == (0, pb.NORMALIZATION_UNSPECIFIED)
    assert server.calls[0].request.model == ""


@pytest.mark.parametrize("normalize", [True, False])
def test_the_answer_says_whether_vectors_are_normalized(client: Client, normalize: bool) -> None:
    assert client.embed_text(["a"], normalize=normalize).normalized is normalize


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_vectors_have_the_dtype_that_was_asked_for(client: Client, dtype: Any) -> None:
    embeddings = client.embed_text(["a", "b"], dtype=dtype)

    assert embeddings.vectors.dtype == dtype
    np.testing.assert_array_equal(embeddings.vectors, [vector_of("a"), vector_of("b")])


def test_images_are_sent_as_their_files_bytes(client: Client, server: Server, tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(b"in a file")

    embeddings = client.embed_images([path, str(path), b"in memory"])

    assert [image.content for image in server.calls[0].request.images] == [b"in a file", b"in a file", b"in memory"]
    np.testing.assert_array_equal(embeddings.vectors[2], vector_of(b"in memory"))
    assert embeddings.token_counts.tolist() == [0, 0, 0]


def test_a_file_that_is_not_there_is_named(client: Client, server: Server, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"missing\.jpg"):
        client.embed_images([tmp_path / "missing.jpg"])
    assert server.calls == []


def test_a_file_missing_late_in_a_long_call_ends_it(connect: Connect, server: Server, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"missing\.jpg"):
        connect(batch_size=1, concurrency=1).embed_images([b"1", b"2", tmp_path / "missing.jpg", b"4"])
    assert b"4" not in [call.request.images[0].content for call in server.calls]


def test_a_refused_request_is_sent_again(connect: Connect, server: Server) -> None:
    server.script = lambda request, context: (
        Failure(grpc.StatusCode.UNAVAILABLE, "ERROR_REASON_NOT_READY") if len(server.calls) < 3 else None
    )

    embeddings = connect(retry=RetryPolicy(initial_backoff=0)).embed_text(["a"])

    np.testing.assert_array_equal(embeddings.vectors, [vector_of("a")])
    assert len(server.calls) == 3


def test_a_request_is_sent_no_more_often_than_the_policy_allows(connect: Connect, server: Server) -> None:
    server.script = lambda request, context: Failure(grpc.StatusCode.UNAVAILABLE, "ERROR_REASON_NOT_READY")

    with pytest.raises(vecserve.NotReadyError):
        connect(retry=RetryPolicy(max_attempts=3, initial_backoff=0)).embed_text(["a"])

    assert len(server.calls) == 3


def test_a_wait_that_would_outlast_the_timeout_is_not_begun(connect: Connect, server: Server) -> None:
    server.script = lambda request, context: overloaded(retry_after=60)

    with pytest.raises(vecserve.OverloadedError) as caught:
        connect(timeout=20).embed_text(["a"])

    assert caught.value.retry_after == 60
    assert len(server.calls) == 1


def test_failures_other_than_unavailable_are_not_retried(client: Client, server: Server) -> None:
    server.script = lambda request, context: Failure(grpc.StatusCode.INTERNAL, "ERROR_REASON_INFERENCE_FAILED")

    with pytest.raises(vecserve.InferenceFailedError):
        client.embed_text(["a"])

    assert len(server.calls) == 1


@pytest.mark.parametrize(("own", "override", "expected"), [(200.0, None, 200.0), (200.0, 50.0, 50.0)])
def test_the_server_learns_the_time_that_is_left(
    connect: Connect, server: Server, own: float, override: float | None, expected: float
) -> None:
    connect(timeout=own).embed_text(["a"], timeout=override)

    assert server.calls[0].time_remaining == pytest.approx(expected, rel=0.2)


def test_a_server_that_does_not_answer_in_time_is_a_deadline_error(connect: Connect, server: Server) -> None:
    gone = threading.Event()

    def script(request: Any, context: grpc.ServicerContext) -> None:
        context.add_callback(gone.set)
        gone.wait(10)

    server.script = script

    with pytest.raises(vecserve.DeadlineExceededError, match=r"no answer from .* within the timeout of 0\.05 s"):
        connect(timeout=0.05).embed_text(["a"])


def test_each_request_has_a_request_id_of_its_own_that_its_retries_keep(connect: Connect, server: Server) -> None:
    server.script = lambda request, context: (
        Failure(grpc.StatusCode.UNAVAILABLE, "ERROR_REASON_NOT_READY") if len(server.calls) == 1 else None
    )

    client = connect(retry=RetryPolicy(initial_backoff=0))
    client.embed_text(["a"])
    client.embed_text(["b"])

    first, retried, second = (call.metadata["x-request-id"] for call in server.calls)
    assert len(first) == 32
    assert first == retried != second


def test_the_callers_metadata_is_sent_and_its_request_id_kept(connect: Connect, server: Server) -> None:
    connect(metadata=[("authorization", "Bearer token"), ("x-request-id", "mine")]).embed_text(["a"])

    assert server.calls[0].metadata["authorization"] == "Bearer token"
    assert server.calls[0].metadata["x-request-id"] == "mine"


def test_errors_carry_the_request_id(client: Client, server: Server) -> None:
    server.script = lambda request, context: Failure(grpc.StatusCode.INTERNAL, "ERROR_REASON_INFERENCE_FAILED")

    with pytest.raises(vecserve.InferenceFailedError) as caught:
        client.embed_text(["a"])

    assert caught.value.request_id == server.calls[0].metadata["x-request-id"]
    assert caught.value.request_id in str(caught.value)


def test_the_user_agent_names_client_and_version(client: Client, server: Server) -> None:
    client.embed_text(["a"])

    assert server.calls[0].metadata["user-agent"].startswith(f"vecserve-python/{vecserve.__version__} ")


def test_messages_beyond_grpcs_own_four_mebibytes_go_both_ways(client: Client, server: Server) -> None:
    server.distort = lambda response: response.model.MergeFrom(pb.ModelVersion(name="n" * 5 * 2**20))

    embeddings = client.embed_text(["t" * 5 * 2**20])

    assert embeddings.truncated.tolist() == [True]
    assert len(embeddings.model.name) == 5 * 2**20


def test_a_model_that_changes_during_a_call_is_an_error(connect: Connect, server: Server) -> None:
    server.digest = lambda request: DIGEST if request.texts[0] == "a" else DIGEST.replace("a", "b")

    with pytest.raises(vecserve.ModelChangedError, match="repeat the call"):
        connect(batch_size=1).embed_text(["a", "b"])


def test_a_server_that_is_not_there_is_named_with_what_to_check(connect: Connect) -> None:
    with pytest.raises(vecserve.UnavailableError, match=r"127\.0\.0\.1:1\b.*vecserve serve") as caught:
        connect("127.0.0.1:1", retry=RetryPolicy(max_attempts=1)).embed_text(["a"])

    assert caught.value.retry_after is None
    assert caught.value.request_id == ""


def test_loopback_is_reached_past_a_proxy(connect: Connect, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)

    assert len(connect().embed_text(["a"])) == 1


def test_models_follows_the_pages(client: Client, server: Server) -> None:
    server.models = [model_service_pb2.Model(name=name) for name in "abcde"]

    assert [model.name for model in client.models()] == list("abcde")
    assert len(server.calls) == 3


def test_model_returns_every_field(client: Client, server: Server) -> None:
    server.models = [
        model_service_pb2.Model(
            name="m",
            version="3",
            digest=DIGEST,
            modality=model_service_pb2.MODALITY_TEXT,
            dimensionality=384,
            supported_dimensionalities=[128, 384],
            default_normalization=pb.NORMALIZATION_L2,
            pooling="mean",
            max_token_count=256,
            max_batch_count=64,
            precision="fp32",
            source="random:0",
            execution_provider="CPUExecutionProvider",
            default=True,
            prompts={"query": "query: "},
            fidelity=model_service_pb2.Fidelity(**FIDELITY),
        )
    ]

    assert client.model("m") == vecserve.ModelInfo(
        name="m",
        version="3",
        digest=DIGEST,
        modality="text",
        dimensionality=384,
        supported_dimensionalities=(128, 384),
        default_normalization="l2",
        pooling="mean",
        max_token_count=256,
        max_batch_count=64,
        precision="fp32",
        source="random:0",
        execution_provider="CPUExecutionProvider",
        default=True,
        prompts={"query": "query: "},
        fidelity=vecserve.Fidelity(**FIDELITY),
    )


def test_a_model_of_a_server_that_tells_no_fidelity_has_none(server: Server, client: Client) -> None:
    server.models = [model_service_pb2.Model(name="m")]

    assert client.model("m").fidelity is None


def test_an_unknown_model_is_named(client: Client) -> None:
    with pytest.raises(vecserve.ModelNotFoundError) as caught:
        client.model("nope")

    assert caught.value.model == "nope"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"address": "localhost"}, "HOST:PORT"),
        ({"address": "http://localhost:50051"}, "HOST:PORT"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"batch_size": 0}, "batch_size"),
        ({"concurrency": 0}, "concurrency"),
        ({"metadata": [("Authorization", "x")]}, "'authorization'"),
    ],
)
def test_wrong_arguments_are_named(connect: Connect, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        connect(**arguments)


@pytest.mark.parametrize("address", ["[::1]:50051", "unix:/run/vecserve.sock", "dns:///embeddings:50051"])
def test_addresses_may_be_any_grpc_target(connect: Connect, address: str) -> None:
    connect(address)


def test_a_client_closes_as_its_block_ends(server: Server) -> None:
    with Client(server.address) as client:
        client.embed_text(["a"])

    with pytest.raises(ValueError, match="closed channel"):
        client.embed_text(["a"])


async def test_an_async_client_made_before_its_loop_works_in_it(server: Server) -> None:
    made_outside = await asyncio.to_thread(vecserve.AsyncClient, server.address)

    async with made_outside as client:
        assert len(await client.embed_text(["a"])) == 1
