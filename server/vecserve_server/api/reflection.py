"""Server reflection, as v1alpha and as v1: grpcio-reflection speaks only the former, newer tools ask for the latter.

The two protocols differ in the name of their package alone, so one servicer answers both (grpc#38576).
"""

from collections.abc import Sequence
from typing import Any, cast

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from grpc_reflection.v1alpha import reflection, reflection_pb2

_V1ALPHA = "grpc.reflection.v1alpha"
_V1 = "grpc.reflection.v1"


def add_reflection(server: grpc.aio.Server, services: Sequence[str]) -> None:
    """Makes `services`, and reflection itself, known to clients that have no protos."""
    _describe_v1()
    names = [*services, f"{_V1}.ServerReflection", f"{_V1ALPHA}.ServerReflection"]
    servicer = reflection.aio.ReflectionServicer(names, cast("Any", _MethodsToo(descriptor_pool.Default())))
    handler = grpc.stream_stream_rpc_method_handler(
        cast("Any", servicer).ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for package in (_V1, _V1ALPHA):
        server.add_registered_method_handlers(f"{package}.ServerReflection", {"ServerReflectionInfo": handler})


class _MethodsToo:
    """A pool that knows the files of methods as well: protobuf's own does not (grpc#34743), and ghz asks for them."""

    def __init__(self, pool: descriptor_pool.DescriptorPool) -> None:
        self._pool = pool

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> Any:
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            return self._pool.FindMethodByName(symbol).containing_service.file


def _describe_v1() -> None:
    """Adds the descriptors of v1 to the pool that reflection reads, as v1alpha's under another name."""
    pool = descriptor_pool.Default()
    v1alpha = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(v1alpha)
    renamed = (
        text_format.MessageToString(v1alpha).replace(_V1ALPHA, _V1).replace("reflection/v1alpha/", "reflection/v1/")
    )
    pool.Add(text_format.Parse(renamed, descriptor_pb2.FileDescriptorProto()))
