"""AdminService."""

from grpc.aio import ServicerContext

from vecserve.v1 import admin_service_pb2 as pb
from vecserve.v1 import admin_service_pb2_grpc as pb_grpc
from vecserve_server.api.gate import Gate
from vecserve_server.api.responses import model_version
from vecserve_server.engine.errors import InvalidInputError, Violation

SERVICE = pb.DESCRIPTOR.services_by_name["AdminService"].full_name


class AdminServicer(pb_grpc.AdminServiceServicer):
    """Loads and unloads models of the engine behind a gate."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def LoadModel(
        self, request: pb.LoadModelRequest, context: ServicerContext[pb.LoadModelRequest, pb.LoadModelResponse]
    ) -> pb.LoadModelResponse:
        rollout = self._gate.rollout
        _require_name(request.name)
        versions = await rollout.load(request.name, request.version)
        return pb.LoadModelResponse(versions=map(model_version, versions))

    async def UnloadModel(
        self, request: pb.UnloadModelRequest, context: ServicerContext[pb.UnloadModelRequest, pb.UnloadModelResponse]
    ) -> pb.UnloadModelResponse:
        rollout = self._gate.rollout
        _require_name(request.name)
        return pb.UnloadModelResponse(versions=map(model_version, await rollout.unload(request.name)))


def _require_name(name: str) -> None:
    if not name:
        raise InvalidInputError([Violation("name", "is empty: it is a directory of the model repository")])
