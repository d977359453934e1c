"""The life of a server process: how it starts, refuses to start, and stops."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from queue import SimpleQueue

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc_health.v1 import health_pb2
from running_server import HealthClient, RunningServer, rpc_status, serving

from vecserve.v1 import embedding_service_pb2 as pb
from vecserve.v1 import model_service_pb2 as model_pb
from vecserve.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from vecserve.v1.model_service_pb2_grpc import ModelServiceStub

Status = health_pb2.HealthCheckResponse

# Under a window of HTTP/2, so that it is there as soon as the call is.
# With one instance, it is ten batches on any machine.
SECONDS_OF_WORK = pb.EmbedTextRequest(texts=[f"{index} " * 255 for index in range(10, 50)])

SERVICES = ["", "vecserve.v1.EmbeddingService", "vecserve.v1.ModelService", "inference.GRPCInferenceService"]


def start(*flags: str) -> subprocess.CompletedProcess[str]:
    """Runs a server that is expected to end by itself."""
    command = [sys.executable, "-m", "vecserve", "serve", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("service", SERVICES)
def test_health_is_serving_overall_and_for_each_service(channel: grpc.Channel, service: str) -> None:
    health = HealthClient(channel)
    assert health.check(service) == Status.SERVING
    assert next(health.watch(service)) == Status.SERVING


def test_health_of_an_unknown_service_is_not_found(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        HealthClient(channel).check("vecserve.v1.AudioService")
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_health_method_that_is_not_there_is_unimplemented(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary("/grpc.health.v1.Health/List")(b"")
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_the_ready_line_names_address_and_models_once(server: RunningServer) -> None:
    ready = [line for line in server.log if "ready on" in line]
    assert len(ready) == 1
    assert server.address in ready[0]
    assert "all-minilm-l6-v2@1, resnet50@1" in ready[0]


def test_random_weights_are_announced(server: RunningServer) -> None:
    assert any("WARNING" in line and "resnet50 has random weights (random:0)" in line for line in server.log)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_idle_server_with_status_0(example_models: Path, number: signal.Signals) -> None:
    with serving(example_models) as running:
        running.process.send_signal(number)
        assert running.process.wait(timeout=30) == 0


def test_sigterm_finishes_what_was_accepted_and_refuses_the_rest(example_models: Path) -> None:
    with serving(example_models, "--instances", "1") as running, running.channel() as channel:
        stub = EmbeddingServiceStub(channel)
        health = HealthClient(channel).watch()
        assert next(health) == Status.SERVING
        accepted = [stub.EmbedText.future(SECONDS_OF_WORK) for _ in range(2)]
        wait_until_read(channel)
        running.process.send_signal(signal.SIGTERM)
        assert next(health) == Status.NOT_SERVING
        with pytest.raises(grpc.RpcError) as refused:
            stub.EmbedText(pb.EmbedTextRequest(texts=["too late"]))
        assert_not_ready(refused.value)
        assert not any(call.done() for call in accepted)
        assert [len(call.result(timeout=60).embeddings) for call in accepted] == [len(SECONDS_OF_WORK.texts)] * 2
        assert running.process.wait(timeout=30) == 0


def test_calls_that_outlast_the_grace_period_are_unavailable(example_models: Path) -> None:
    with serving(example_models, "--instances", "1", "--grace-seconds", "0.1") as running, running.channel() as channel:
        accepted = EmbeddingServiceStub(channel).EmbedText.future(SECONDS_OF_WORK)
        wait_until_read(channel)
        assert running.stop() == 0
        error = accepted.exception()
        assert isinstance(error, grpc.RpcError)
        assert_not_ready(error)


def test_a_second_signal_ends_the_grace_period(example_models: Path) -> None:
    with serving(example_models, "--instances", "1") as running, running.channel() as channel:
        health = HealthClient(channel).watch()
        assert next(health) == Status.SERVING
        accepted = EmbeddingServiceStub(channel).EmbedText.future(SECONDS_OF_WORK)
        wait_until_read(channel)
        running.process.send_signal(signal.SIGINT)
        assert next(health) == Status.NOT_SERVING
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(timeout=30) == 0
        assert accepted.exception() is not None


def test_a_health_watch_does_not_hold_up_the_shutdown(example_models: Path) -> None:
    with serving(example_models, "--grace-seconds", "300") as running, running.channel() as channel:
        health = HealthClient(channel).watch()
        assert next(health) == Status.SERVING
        assert running.stop() == 0
        assert next(health) == Status.NOT_SERVING


def test_a_stream_is_ended_as_not_ready_after_its_answers(example_models: Path) -> None:
    with serving(example_models, "--instances", "1") as running, running.channel() as channel:
        requests: SimpleQueue[pb.StreamEmbedRequest] = SimpleQueue()
        answers = EmbeddingServiceStub(channel).StreamEmbed(iter(requests.get, None))
        requests.put(pb.StreamEmbedRequest(id="short", text=pb.EmbedTextRequest(texts=["short"])))
        assert next(answers).id == "short"
        requests.put(pb.StreamEmbedRequest(id="long", text=SECONDS_OF_WORK))
        requests.put(pb.StreamEmbedRequest(id="refused"))
        assert next(answers).id == "refused"  # so the long one was read too
        running.process.send_signal(signal.SIGTERM)
        long = next(answers)
        assert long.id == "long"
        assert len(long.text.embeddings) == len(SECONDS_OF_WORK.texts)
        with pytest.raises(grpc.RpcError) as ended:
            next(answers)
        assert_not_ready(ended.value)
        assert running.process.wait(timeout=30) == 0


def test_a_second_server_on_the_port_is_refused(server: RunningServer, example_models: Path) -> None:
    done = start("--models", str(example_models), "--address", server.address)
    assert done.returncode == 1
    assert f"can't listen on {server.address}: Address already in use" in done.stderr


def test_a_provider_that_is_not_there_stops_the_start(example_models: Path) -> None:
    done = start("--models", str(example_models), "--address", "127.0.0.1:0", "--provider", "cuda")
    assert done.returncode == 1
    assert "CUDAExecutionProvider is not in the installed onnxruntime" in done.stderr
    assert "ready on" not in done.stderr


def test_a_directory_without_models_stops_the_start(tmp_path: Path) -> None:
    done = start("--models", str(tmp_path), "--address", "127.0.0.1:0")
    assert done.returncode == 1
    assert f"model directory '{tmp_path}' holds no" in done.stderr


def test_an_altered_artifact_stops_the_start(example_models: Path, tmp_path: Path) -> None:
    shutil.copytree(example_models / "all-minilm-l6-v2", tmp_path / "minilm")
    with (tmp_path / "minilm" / "1" / "model.onnx").open("r+b") as graph:
        graph.seek(5000)
        graph.write(b"altered")
    done = start("--models", str(tmp_path), "--address", "127.0.0.1:0")
    assert done.returncode == 1
    assert "graph_digest" in done.stderr


def test_a_setting_that_is_not_allowed_stops_the_start() -> None:
    done = start("--provider", "gpu", "--max-batch-items", "-1")
    assert done.returncode == 2
    assert "--provider: must be one of cpu, cuda, tensorrt, openvino, or" in done.stderr
    assert "(given: 'gpu')" in done.stderr
    assert "--max-batch-items: Input should be greater than 0" in done.stderr


def wait_until_read(channel: grpc.Channel) -> None:
    """Returns when the server has begun all calls that were made before: it begins those of a connection in order."""
    for _ in range(3):
        ModelServiceStub(channel).ListModels(model_pb.ListModelsRequest())


def assert_not_ready(error: grpc.RpcError) -> None:
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    info, retry = ErrorInfo(), RetryInfo()
    for detail in rpc_status(error).details:
        detail.Unpack(info)
        detail.Unpack(retry)
    assert info.reason == "ERROR_REASON_NOT_READY"
    assert retry.retry_delay.ToTimedelta().total_seconds() > 0


def test_sigterm_ends_a_server_that_loads_its_models(example_models: Path, tmp_path: Path) -> None:
    for number in range(12):  # which takes ten seconds or more
        (tmp_path / f"model-{number}").symlink_to(example_models / "resnet50")
    command = [sys.executable, "-m", "vecserve", "serve", "--models", str(tmp_path), "--address", "127.0.0.1:0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        assert any("loaded model-0@1" in line for line in process.stderr)
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        log = process.stderr.read()
        assert process.wait(timeout=60) == 0
    assert time.monotonic() - started < 8
    assert "loaded model-9" not in log
    assert "Traceback" not in log
