"""A server whose model fails for some texts, called over a real channel."""

import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc_health.v1 import health_pb2
from running_server import HealthClient, RunningServer, rpc_status, serving, trailers

from vecserve.oip.grpc_inference_service_pb2 import ModelStatisticsRequest
from vecserve.oip.grpc_inference_service_pb2_grpc import GRPCInferenceServiceStub
from vecserve.v1 import embedding_service_pb2 as pb
from vecserve.v1.embedding_service_pb2_grpc import EmbeddingServiceStub

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def server(models_dir: Path) -> Generator[RunningServer]:
    with serving(models_dir) as running:
        yield running


@pytest.fixture
def channel(server: RunningServer) -> Generator[grpc.Channel]:
    with server.channel() as channel:
        yield channel


@pytest.fixture
def embedding(channel: grpc.Channel) -> EmbeddingServiceStub:
    return EmbeddingServiceStub(channel)


@pytest.mark.parametrize(
    ("text", "cause"), [("the crash", "indices element out of data bounds"), ("nan", "not finite")]
)
def test_callers_learn_the_request_id_and_the_log_has_the_cause_under_it(
    server: RunningServer, embedding: EmbeddingServiceStub, text: str, cause: str
) -> None:
    identity = f"failing-{text.split()[-1]}"
    with pytest.raises(grpc.RpcError) as raised:
        embedding.EmbedText(pb.EmbedTextRequest(texts=[text]), metadata=(("x-request-id", identity),))
    assert raised.value.code() is grpc.StatusCode.INTERNAL
    told = str(raised.value.details())
    assert identity in told
    assert cause not in told
    info = ErrorInfo()
    assert rpc_status(raised.value).details[0].Unpack(info)
    assert info.reason == "ERROR_REASON_INFERENCE_FAILED"
    assert server.stop() == 0
    log = "".join(server.log)
    assert cause in log[log.index(identity) :]


def test_the_server_serves_on_after_a_run_has_failed(embedding: EmbeddingServiceStub) -> None:
    for texts in (["crash"], ["the cat", "nan"]):
        with pytest.raises(grpc.RpcError):
            embedding.EmbedText(pb.EmbedTextRequest(texts=texts))
    assert len(embedding.EmbedText(pb.EmbedTextRequest(texts=["the cat", "sat"])).embeddings) == 2


def test_a_stream_tells_the_request_id_that_its_trailers_carry(embedding: EmbeddingServiceStub) -> None:
    request = pb.StreamEmbedRequest(id="1", text=pb.EmbedTextRequest(texts=["crash"]))
    stream = embedding.StreamEmbed(iter([request]))
    (answer,) = stream
    assert trailers(stream)["x-request-id"] in answer.error.message


def test_one_run_in_a_hundred_that_fails_fails_its_own_calls_and_each_finds_its_cause(
    server: RunningServer, channel: grpc.Channel
) -> None:
    stub = EmbeddingServiceStub(channel)
    calls: dict[str, Any] = {}
    for number in range(600):
        text = "the crash" if number % 100 == 50 else "the cat"
        metadata = (("x-request-id", f"call-{number}"),)
        calls[f"call-{number}"] = stub.EmbedText.future(pb.EmbedTextRequest(texts=[text]), metadata=metadata)
        if number % 16 == 15:
            calls[f"call-{number}"].exception()  # no more than 16 are under way
    errors = {identity: error for identity, call in calls.items() if (error := call.exception())}

    assert {f"call-{number}" for number in range(50, 600, 100)} <= set(errors)
    assert {error.code() for error in errors.values()} == {grpc.StatusCode.INTERNAL}
    assert all(identity in str(error.details()) for identity, error in errors.items())
    (told,) = GRPCInferenceServiceStub(channel).ModelStatistics(ModelStatisticsRequest(name="tiny-text")).model_stats
    assert told.inference_count == 600 - len(errors), "an input was computed, and its call failed"
    assert server.stop() == 0
    log = "".join(server.log)
    for identity in errors:
        assert "indices element out of data bounds" in log[log.index(f"request {identity} failed") :][:4000]


@pytest.fixture
def impatient(models_dir: Path) -> Generator[RunningServer]:
    """A server that gives runs up after 0.3 s, and a model after two in a row."""
    with serving(models_dir, "--run-timeout-seconds", "0.3", "--max-failures", "2") as running:
        yield running


def embed(channel: grpc.Channel, *texts: str, timeout: float = 30.0) -> grpc.StatusCode:
    try:
        EmbeddingServiceStub(channel).EmbedText(pb.EmbedTextRequest(texts=texts), timeout=timeout)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_a_run_that_hangs_fails_its_own_call_and_its_end_is_logged(impatient: RunningServer) -> None:
    with impatient.channel() as channel:
        hanging = EmbeddingServiceStub(channel).EmbedText.future(
            pb.EmbedTextRequest(texts=["hang"]), metadata=(("x-request-id", "hanging"),)
        )
        time.sleep(0.1)  # until its run has begun: what rides in its batch fails with it
        while not hanging.done():
            assert embed(channel, "the cat") is grpc.StatusCode.OK
        error = hanging.exception()
        assert isinstance(error, grpc.RpcError)
        assert error.code() is grpc.StatusCode.INTERNAL
        assert HealthClient(channel).check("model:tiny-text") == SERVING
    assert impatient.stop() == 0
    log = "".join(impatient.log)
    assert "HangingError: it ran for" in log[log.index("request hanging failed") :]


def test_runs_that_hang_again_and_again_leave_as_many_instances(impatient: RunningServer) -> None:
    with impatient.channel() as channel:
        for _ in range(12):  # more than there may be lost threads: ONNX Runtime ends these when told to
            assert embed(channel, "hang") is grpc.StatusCode.INTERNAL
            assert embed(channel, "the cat") is grpc.StatusCode.OK
        assert HealthClient(channel).check("liveness") == SERVING
    assert impatient.stop() == 0


def test_a_model_that_fails_again_and_again_is_out_until_it_works_while_others_serve(
    impatient: RunningServer,
) -> None:
    with impatient.channel() as channel:
        health = HealthClient(channel)
        watch = health.watch("model:tiny-text")
        assert next(watch) == SERVING
        for _ in range(2):
            assert embed(channel, "crash") is grpc.StatusCode.INTERNAL

        assert next(watch) == NOT_SERVING
        with pytest.raises(grpc.RpcError) as refused:
            EmbeddingServiceStub(channel).EmbedText(pb.EmbedTextRequest(texts=["the cat"]))
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        info, retry = ErrorInfo(), RetryInfo()
        details = rpc_status(refused.value).details
        assert details[0].Unpack(info)
        assert details[1].Unpack(retry)
        assert info.reason == "ERROR_REASON_MODEL_FAILING"
        assert 0 < retry.retry_delay.ToTimedelta().total_seconds() <= 1
        assert [health.check(name) for name in ("", "readiness", "liveness", "model:tiny-image")] == [SERVING] * 4

        assert next(watch) == SERVING  # nobody called it: the server tried by itself
        assert embed(channel, "the cat") is grpc.StatusCode.OK
    assert impatient.stop() == 0


def test_a_server_none_of_whose_models_works_is_not_ready_and_live(text_artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny-text").symlink_to(text_artifact.parent)
    with serving(tmp_path, "--max-failures", "1") as running, running.channel() as channel:
        watch = HealthClient(channel).watch()
        assert next(watch) == SERVING
        assert embed(channel, "crash") is grpc.StatusCode.INTERNAL
        assert next(watch) == NOT_SERVING
        assert HealthClient(channel).check("liveness") == SERVING
        assert next(watch) == SERVING


def test_a_run_that_hangs_holds_up_neither_the_shutdown_nor_its_caller(models_dir: Path) -> None:
    with serving(models_dir, "--grace-seconds", "0.2") as running, running.channel() as channel:
        hanging = EmbeddingServiceStub(channel).EmbedText.future(pb.EmbedTextRequest(texts=["hang"]))
        time.sleep(0.1)  # until its run has begun
        assert embed(channel, "the cat") is grpc.StatusCode.OK
        assert running.stop() == 0
        error = hanging.exception()
        assert isinstance(error, grpc.RpcError)
        assert error.code() is grpc.StatusCode.UNAVAILABLE


def test_health_is_answered_quickly_by_a_saturated_server(server: RunningServer, channel: grpc.Channel) -> None:
    stub = EmbeddingServiceStub(channel)
    request = pb.EmbedTextRequest(texts=["the cat sat on the mat"] * 64)
    stopped = threading.Event()
    slots = threading.Semaphore(64)

    def saturate() -> None:
        while not stopped.is_set():
            slots.acquire()
            stub.EmbedText.future(request).add_done_callback(lambda _: slots.release())

    loading = threading.Thread(target=saturate)
    loading.start()
    with server.channel() as other:
        health = HealthClient(other)
        durations: list[float] = []
        for _ in range(200):
            started = time.monotonic()
            assert health.check("liveness") == SERVING
            durations.append(time.monotonic() - started)
    stopped.set()
    loading.join()
    assert sorted(durations)[197] < 0.5, durations  # 0.05 is promised; the load is made by this very process
