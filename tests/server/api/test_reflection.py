from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2 as pb

from vecserve_server.api.embedding import SERVICE
from vecserve_server.api.reflection import add_reflection


@pytest_asyncio.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server()
    add_reflection(server, [SERVICE])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(None)


async def ask(
    channel: grpc.aio.Channel, version: str, request: pb.ServerReflectionRequest
) -> pb.ServerReflectionResponse:
    method = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=pb.ServerReflectionRequest.SerializeToString,
        response_deserializer=pb.ServerReflectionResponse.FromString,
    )
    async for response in method(iter([request])):
        return response
    raise AssertionError("no answer")


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_both_versions_list_the_services(channel: grpc.aio.Channel, version: str) -> None:
    response = await ask(channel, version, pb.ServerReflectionRequest(list_services=""))

    assert {service.name for service in response.list_services_response.service} == {
        SERVICE,
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
@pytest.mark.parametrize(
    ("symbol", "file"),
    [
        ("vecserve.v1.EmbeddingService", "vecserve/v1/embedding_service.proto"),
        ("vecserve.v1.EmbedTextRequest", "vecserve/v1/embedding_service.proto"),
        ("vecserve.v1.EmbeddingService.EmbedText", "vecserve/v1/embedding_service.proto"),
        ("vecserve.v1.EmbedTextRequest.texts", "vecserve/v1/embedding_service.proto"),
        ("grpc.reflection.v1.ServerReflection", "reflection/v1/reflection.proto"),
    ],
)
async def test_both_versions_describe_what_is_listed(
    channel: grpc.aio.Channel, version: str, symbol: str, file: str
) -> None:
    response = await ask(channel, version, pb.ServerReflectionRequest(file_containing_symbol=symbol))

    files = [
        FileDescriptorProto.FromString(packed) for packed in response.file_descriptor_response.file_descriptor_proto
    ]
    assert any(descriptor.name.endswith(file) for descriptor in files)


@pytest.mark.parametrize("symbol", ["vecserve.v1.Nothing", "vecserve.v1.EmbeddingService.EmbedNothing", "", "."])
async def test_an_unknown_symbol_is_answered_as_not_found(channel: grpc.aio.Channel, symbol: str) -> None:
    response = await ask(channel, "v1", pb.ServerReflectionRequest(file_containing_symbol=symbol))

    assert response.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
