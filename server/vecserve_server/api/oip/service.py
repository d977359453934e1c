"""GRPCInferenceService."""

from importlib.metadata import version

from grpc.aio import ServicerContext

from vecserve.oip import grpc_inference_service_pb2 as pb
from vecserve.oip import grpc_inference_service_pb2_grpc as pb_grpc
from vecserve_server.api.gate import Gate
from vecserve_server.api.metadata import SERVER_TIMING, add_trailing_metadata, server_timing, terms
from vecserve_server.api.oip.description import configuration, metadata
from vecserve_server.api.oip.inference import Tensors, read_request, to_inputs, to_response
from vecserve_server.api.oip.parameters import InferOptions
from vecserve_server.api.oip.statistics import statistics
from vecserve_server.api.requests import naming
from vecserve_server.engine.engine import Embeddings, Engine
from vecserve_server.engine.errors import InvalidInputError, ModelNotFoundError, NotReadyError, Violation
from vecserve_server.engine.statistics import Statistics
from vecserve_server.engine.terms import Terms
from vecserve_server.models.inputs import ImageInputs, PixelInputs
from vecserve_server.models.model import AnyModel, TextModel
from vecserve_server.telemetry.calls import current_call

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name

_VERSION = version("vecserve")

# As Triton names them. "schedule_policy" are the parameters `priority` and `timeout`.
_EXTENSIONS = ("model_configuration", "parameters", "schedule_policy", "statistics")


class InferenceServicer(pb_grpc.GRPCInferenceServiceServicer):
    """Answers the Open Inference Protocol with the engine behind a gate."""

    def __init__(self, gate: Gate, known: Statistics, *, max_items: int) -> None:
        self._gate = gate
        self._known = known
        self._max_items = max_items

    async def ServerLive(
        self, request: pb.ServerLiveRequest, context: ServicerContext[pb.ServerLiveRequest, pb.ServerLiveResponse]
    ) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=self._gate.is_live)

    async def ServerReady(
        self, request: pb.ServerReadyRequest, context: ServicerContext[pb.ServerReadyRequest, pb.ServerReadyResponse]
    ) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._gate.is_ready)

    async def ModelReady(
        self, request: pb.ModelReadyRequest, context: ServicerContext[pb.ModelReadyRequest, pb.ModelReadyResponse]
    ) -> pb.ModelReadyResponse:
        try:
            model = self._model("name", request.name, request.version)
        except (ModelNotFoundError, NotReadyError):
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=self._gate.engine.works(model))

    async def ServerMetadata(
        self,
        request: pb.ServerMetadataRequest,
        context: ServicerContext[pb.ServerMetadataRequest, pb.ServerMetadataResponse],
    ) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name="vecserve", version=_VERSION, extensions=_EXTENSIONS)

    async def ModelMetadata(
        self,
        request: pb.ModelMetadataRequest,
        context: ServicerContext[pb.ModelMetadataRequest, pb.ModelMetadataResponse],
    ) -> pb.ModelMetadataResponse:
        model = self._model("name", request.name, request.version)
        return metadata(model, [other.version for other in self._gate.engine.catalog.versions(model.name)])

    async def ModelInfer(
        self, request: pb.ModelInferRequest, context: ServicerContext[pb.ModelInferRequest, pb.ModelInferResponse]
    ) -> pb.ModelInferResponse:
        engine = self._gate.engine
        current_call().model = model = self._model("model_name", request.model_name, request.model_version)
        tensors, options = read_request(request, model, self._max_items)
        now = engine.clock()
        asked = options.terms(terms(context, now), now)
        with naming(f"inputs.{next(iter(tensors))}[{{}}]"):
            result = await _embed(engine, model, tensors, options, asked)
        add_trailing_metadata(context, SERVER_TIMING, server_timing(result.timings))
        return to_response(request, model, options.encoding, result)

    async def ModelConfig(
        self, request: pb.ModelConfigRequest, context: ServicerContext[pb.ModelConfigRequest, pb.ModelConfigResponse]
    ) -> pb.ModelConfigResponse:
        model = self._model("name", request.name, request.version)
        return pb.ModelConfigResponse(config=configuration(model, self._max_items))

    async def ModelStatistics(
        self,
        request: pb.ModelStatisticsRequest,
        context: ServicerContext[pb.ModelStatisticsRequest, pb.ModelStatisticsResponse],
    ) -> pb.ModelStatisticsResponse:
        asked = [self._model("name", request.name, request.version)] if request.name else self._gate.engine.catalog
        return pb.ModelStatisticsResponse(
            model_stats=[statistics(model, self._known.of(model.name)) for model in asked]
        )

    async def RepositoryIndex(
        self,
        request: pb.RepositoryIndexRequest,
        context: ServicerContext[pb.RepositoryIndexRequest, pb.RepositoryIndexResponse],
    ) -> pb.RepositoryIndexResponse:
        engine = self._gate.engine
        ready = {model: engine.works(model) for model in engine.catalog}
        models = [_index(model, ready=ready[model]) for model in ready if ready[model] or not request.ready]
        return pb.RepositoryIndexResponse(models=models)

    def _model(self, field: str, name: str, version: str) -> AnyModel:
        """The model that a request names, in `field`; in its highest version if it names none."""
        catalog = self._gate.engine.catalog
        if not name:
            raise InvalidInputError([Violation(field, "is empty: RepositoryIndex shows the names")])
        return catalog.version(name, version)


def _index(model: AnyModel, *, ready: bool) -> pb.RepositoryIndexResponse.ModelIndex:
    return pb.RepositoryIndexResponse.ModelIndex(
        name=model.name, version=model.version, state="READY" if ready else "UNAVAILABLE"
    )


async def _embed(engine: Engine, model: AnyModel, tensors: Tensors, options: InferOptions, terms: Terms) -> Embeddings:
    inputs = to_inputs(tensors, options)
    current_call().embeds(inputs, terms)
    if isinstance(inputs, ImageInputs | PixelInputs):
        assert not isinstance(model, TextModel)
        return await engine.embed_images(model, inputs, terms)
    assert isinstance(model, TextModel)
    return await engine.embed_texts(model, inputs, terms)
