"""A server of the example models, called over a real channel."""

import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import grpc
import pytest
from running_server import RunningServer, serving

from vecserve.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from vecserve.v1.model_service_pb2_grpc import ModelServiceStub


@pytest.fixture(scope="session")
def server(example_models: Path) -> Generator[RunningServer]:
    """A server of the example models with default settings, shared by tests that leave it as it was.

    None of them gives it reason to log an error.
    """
    with serving(example_models) as running:
        yield running
        running.stop()
    faults = [line for line in running.log if "ERROR" in line or "Traceback" in line]
    assert not faults, "".join(running.log)


@pytest.fixture(scope="session")
def channel(server: RunningServer) -> Generator[grpc.Channel]:
    with server.channel() as channel:
        yield channel


@pytest.fixture(scope="session")
def embedding(channel: grpc.Channel) -> EmbeddingServiceStub:
    return EmbeddingServiceStub(channel)


@pytest.fixture(scope="session")
def models(channel: grpc.Channel) -> ModelServiceStub:
    return ModelServiceStub(channel)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This project as a wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    root = Path(__file__).parents[2]
    pip_wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(root)]
    subprocess.run(pip_wheel, check=True)
    (built,) = folder.glob("vecserve-*.whl")
    return built
