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
    """A server of the example models with default settings, shared by tests that leave it as it was."""
    with serving(example_models) as running:
        yield running


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
