"""A server of the example models, called over a real channel."""

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
