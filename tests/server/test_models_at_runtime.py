"""A server whose models change while it is called over a real channel."""

import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path

import grpc
import numpy as np
import pytest
from running_server import HealthClient, RunningServer, rpc_status, serving

from vecserve.cli import main
from vecserve.v1 import admin_service_pb2 as admin_pb
from vecserve.v1 import embedding_service_pb2 as pb
from vecserve.v1.admin_service_pb2_grpc import AdminServiceStub
from vecserve.v1.embedding_service_pb2_grpc import EmbeddingServiceStub

Write = Callable[..., None]


@pytest.fixture
def root(tmp_path: Path, write_text_version: Write) -> Path:
    """A repository of `first` and `second`, version 1 of each."""
    for name in ("first", "second"):
        write_text_version(tmp_path / name / "1")
    return tmp_path


@pytest.fixture
def server(root: Path) -> Generator[RunningServer]:
    with serving(root, "--admin") as running:
        yield running
        assert running.stop() == 0
    assert not [line for line in running.log if "Traceback" in line], "".join(running.log)


@pytest.fixture
def channel(server: RunningServer) -> Generator[grpc.Channel]:
    with server.channel() as channel:
        yield channel


class Callers:
    """Threads that call a model over and over, and count what they get by version."""

    def __init__(self, channel: grpc.Channel, model: str, count: int = 8) -> None:
        self._stub = EmbeddingServiceStub(channel)
        self._model = model
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(count)]
        self.answered: dict[str, int] = {}
        self.failures: list[grpc.RpcError] = []
        self._lock = threading.Lock()

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _call(self) -> None:
        request = pb.EmbedTextRequest(model=self._model, texts=["the cat", "sat on the mat"])
        while not self._stopped.is_set():
            try:
                version = self._stub.EmbedText(request, timeout=20).model.version
            except grpc.RpcError as error:
                self.failures.append(error)
                return
            with self._lock:
                self.answered[version] = self.answered.get(version, 0) + 1

    def wait_for(self, version: str, calls: int = 50) -> None:
        end = time.monotonic() + 20
        while self.answered.get(version, 0) < calls:
            assert time.monotonic() < end, self.answered
            assert not self.failures, self.failures
            time.sleep(0.005)


def vector(channel: grpc.Channel, model: str) -> np.ndarray:
    options = pb.VectorOptions(normalization=pb.NORMALIZATION_NONE)
    request = pb.EmbedTextRequest(model=model, texts=["the cat"], vector=options)
    return np.frombuffer(EmbeddingServiceStub(channel).EmbedText(request).embeddings[0].values, "<f4")


def test_versions_take_over_under_load_with_no_failed_call(
    channel: grpc.Channel, root: Path, write_text_version: Write
) -> None:
    admin = AdminServiceStub(channel)
    with Callers(channel, "first") as callers:
        callers.wait_for("1")
        for version in ("2", "3", "4"):
            write_text_version(root / "first" / version, factor=float(version))
            told = admin.LoadModel(admin_pb.LoadModelRequest(name="first"))
            assert [model.version for model in told.versions] == [version]
            callers.wait_for(version)

    assert callers.failures == []
    assert set(callers.answered) == {"1", "2", "3", "4"}
    np.testing.assert_allclose(vector(channel, "first"), 4 * vector(channel, "second"), rtol=1e-6)


def test_a_broken_version_leaves_the_old_one_serving_and_says_why(
    server: RunningServer, channel: grpc.Channel, root: Path, write_text_version: Write
) -> None:
    write_text_version(root / "first" / "2")
    (root / "first" / "2" / "tokenizer.json").unlink()

    with pytest.raises(grpc.RpcError) as refused:
        AdminServiceStub(channel).LoadModel(admin_pb.LoadModelRequest(name="first", version="2"))

    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "first@2 can't be served" in rpc_status(refused.value).message
    assert "tokenizer.json" in rpc_status(refused.value).message
    assert len(vector(channel, "first@1")) == 8


def test_a_request_may_name_a_version(channel: grpc.Channel) -> None:
    assert len(vector(channel, "first@1")) == 8

    with pytest.raises(grpc.RpcError) as refused:
        vector(channel, "first@2")

    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert "'first' is loaded in version '1', not '2'" in str(refused.value.details())


def test_an_unloaded_model_is_not_found_and_does_not_serve(channel: grpc.Channel) -> None:
    health = HealthClient(channel).watch("model:second")
    assert next(health) == 1
    AdminServiceStub(channel).UnloadModel(admin_pb.UnloadModelRequest(name="second"))

    assert next(health) == 2
    assert HealthClient(channel).check() == 1
    with pytest.raises(grpc.RpcError) as refused:
        vector(channel, "second")
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND

    AdminServiceStub(channel).LoadModel(admin_pb.LoadModelRequest(name="second"))
    assert next(health) == 1
    assert len(vector(channel, "second")) == 8


def test_a_default_model_can_not_be_unloaded(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        AdminServiceStub(channel).UnloadModel(admin_pb.UnloadModelRequest(name="first"))

    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_the_command_loads_and_unloads(
    server: RunningServer, root: Path, write_text_version: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write_text_version(root / "second" / "2")
    options = ["--address", server.address]

    assert main(["models", "load", "second", *options]) == 0
    assert "serves second@2 (sha256:" in capsys.readouterr().out
    assert main(["models", "load", "second@1", *options]) == 0
    assert "serves second@1 (sha256:" in capsys.readouterr().out
    assert main(["models", "unload", "second", *options]) == 0
    assert "unloaded second@1" in capsys.readouterr().out
    assert main(["models", "unload", "first", *options]) == 1
    assert "--default-text-model" in capsys.readouterr().err
    assert main(["models", "load", *options]) == 2


def test_new_versions_are_found_by_themselves_and_nobody_may_load_any(root: Path, write_text_version: Write) -> None:
    with serving(root, "--poll-models-seconds", "0.05") as running, running.channel() as channel:
        with pytest.raises(grpc.RpcError) as refused:
            AdminServiceStub(channel).LoadModel(admin_pb.LoadModelRequest(name="first"))
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
        with Callers(channel, "first") as callers:
            callers.wait_for("1")
            write_text_version(root / "staged" / "2")
            (root / "staged" / "2").rename(root / "first" / "2")
            callers.wait_for("2")
        assert callers.failures == []
        assert running.stop() == 0
