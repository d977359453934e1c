"""Clients that are not ours: stubs made from the protos alone, and reflection without any protos."""

import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_reflection.v1alpha import reflection_pb2
from running_server import RunningServer

PROTOS = Path(__file__).parents[2] / "protos"

CLIENT = """
import struct, sys
import grpc
from vecserve.v1 import embedding_service_pb2 as pb
from vecserve.v1 import embedding_service_pb2_grpc, model_service_pb2, model_service_pb2_grpc

assert pb.__file__.startswith(sys.argv[2]), pb.__file__
channel = grpc.insecure_channel(sys.argv[1])
models = model_service_pb2_grpc.ModelServiceStub(channel).ListModels(model_service_pb2.ListModelsRequest()).models
print(*(model.name for model in models))
service = embedding_service_pb2_grpc.EmbeddingServiceStub(channel)
answer = service.EmbedText(pb.EmbedTextRequest(texts=["from the protos alone"]))
print(sum(x * x for x in struct.unpack("<384f", answer.embeddings[0].values)))
"""


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stubs that this environment's own grpcio-tools writes from `protos/`, as a team with another build would."""
    folder = tmp_path_factory.mktemp("stubs")
    google = Path(str(files("google.rpc") / "status.proto")).parents[2]
    protos = [str(path) for path in PROTOS.glob("vecserve/v1/*.proto")]
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", f"-I{google}"]
    subprocess.run([*protoc, f"--python_out={folder}", f"--grpc_python_out={folder}", *protos], check=True)
    for package in (folder / "vecserve", folder / "vecserve" / "v1"):
        (package / "__init__.py").touch()  # or the installed vecserve, a regular package, would win over these
    return folder


def test_a_client_made_from_the_protos_lists_models_and_embeds(server: RunningServer, stubs: Path) -> None:
    command = [sys.executable, "-c", CLIENT, server.address, str(stubs)]
    done = subprocess.run(command, env={"PYTHONPATH": str(stubs)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names, squared_norm = done.stdout.splitlines()
    assert names.split() == ["all-minilm-l6-v2", "resnet50"]
    assert float(squared_norm) == pytest.approx(1, abs=1e-5)


class ReflectionClient:
    """Learns a server's services over reflection and calls them with messages built from what it learned."""

    def __init__(self, channel: grpc.Channel, package: str) -> None:
        self._channel = channel
        self._ask = channel.stream_stream(
            f"/{package}.ServerReflection/ServerReflectionInfo",
            reflection_pb2.ServerReflectionRequest.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString,
        )
        self._pool = descriptor_pool.DescriptorPool()

    def services(self) -> list[str]:
        (answer,) = self._ask(iter([reflection_pb2.ServerReflectionRequest(list_services="*")]))
        return [service.name for service in answer.list_services_response.service]

    def learn(self, symbol: str) -> None:
        requests = iter([reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)])
        (answer,) = self._ask(requests)
        for data in self._in_order(answer.file_descriptor_response.file_descriptor_proto):
            self._pool.Add(data)

    def _in_order(self, serialized: Iterable[bytes]) -> Iterator[descriptor_pb2.FileDescriptorProto]:
        """Files after those that they import."""
        files = [descriptor_pb2.FileDescriptorProto.FromString(data) for data in serialized]
        known: set[str] = set()
        while files:
            ready = next(file for file in files if known.issuperset(file.dependency))
            files.remove(ready)
            known.add(ready.name)
            yield ready

    def call(self, service: str, method: str, **fields: object) -> Any:
        described = self._pool.FindServiceByName(service).FindMethodByName(method)
        request = message_factory.GetMessageClass(described.input_type)(**fields)
        answer = message_factory.GetMessageClass(described.output_type)
        return self._channel.unary_unary(f"/{service}/{method}", type(request).SerializeToString, answer.FromString)(
            request
        )


@pytest.mark.parametrize("package", ["grpc.reflection.v1", "grpc.reflection.v1alpha"])
def test_a_reflection_client_lists_models_and_embeds(channel: grpc.Channel, package: str) -> None:
    client = ReflectionClient(channel, package)
    assert {
        "vecserve.v1.EmbeddingService",
        "vecserve.v1.ModelService",
        "inference.GRPCInferenceService",
        "grpc.health.v1.Health",
    } <= set(client.services())
    client.learn("vecserve.v1.ModelService")
    models = client.call("vecserve.v1.ModelService", "ListModels")
    assert [model.name for model in models.models] == ["all-minilm-l6-v2", "resnet50"]
    answer = client.call("vecserve.v1.EmbeddingService", "EmbedText", texts=["no protos at all"])
    assert len(answer.embeddings[0].values) == 4 * 384


@pytest.mark.parametrize("package", ["grpc.reflection.v1", "grpc.reflection.v1alpha"])
def test_every_listed_service_can_be_described(channel: grpc.Channel, package: str) -> None:
    for service in ReflectionClient(channel, package).services():
        ReflectionClient(channel, package).learn(service)
