"""ModelService."""

from grpc.aio import ServicerContext

from vecserve.v1 import model_service_pb2 as pb
from vecserve.v1 import model_service_pb2_grpc as pb_grpc
from vecserve_server.api.gate import Gate
from vecserve_server.api.vectors import NORMALIZATIONS
from vecserve_server.engine.catalog import Catalog, place
from vecserve_server.engine.errors import InvalidInputError, Violation
from vecserve_server.models.manifest import TextInput
from vecserve_server.models.model import AnyModel

SERVICE = pb.DESCRIPTOR.services_by_name["ModelService"].full_name

_LARGEST_PAGE = 100

_MODALITIES = {"text": pb.MODALITY_TEXT, "image": pb.MODALITY_IMAGE}


class ModelServicer(pb_grpc.ModelServiceServicer):
    """Describes the models of the engine behind a gate."""

    def __init__(self, gate: Gate, *, max_items: int) -> None:
        self._gate = gate
        self._max_items = max_items

    async def GetModel(
        self, request: pb.GetModelRequest, context: ServicerContext[pb.GetModelRequest, pb.Model]
    ) -> pb.Model:
        if not request.name:
            raise InvalidInputError([Violation("name", "is empty: ListModels shows the names")])
        catalog = self._gate.engine.catalog
        return self._describe(catalog.get(request.name), catalog)

    async def ListModels(
        self, request: pb.ListModelsRequest, context: ServicerContext[pb.ListModelsRequest, pb.ListModelsResponse]
    ) -> pb.ListModelsResponse:
        if request.page_size < 0:
            raise InvalidInputError([Violation("page_size", f"is {request.page_size}; it may not be negative")])
        catalog = self._gate.engine.catalog
        # A token is the last model of the page before: it stays good while models come and go.
        after = _place(request.page_token)
        models = [model for model in catalog if place(model) > after]
        size = min(request.page_size or _LARGEST_PAGE, _LARGEST_PAGE)
        page = [self._describe(model, catalog) for model in models[:size]]
        return pb.ListModelsResponse(
            models=page, next_page_token=models[size - 1].reference if len(models) > size else ""
        )

    def _describe(self, model: AnyModel, catalog: Catalog) -> pb.Model:
        manifest = model.manifest
        text = manifest.input if isinstance(manifest.input, TextInput) else None
        return pb.Model(
            name=model.name,
            version=model.version,
            digest=manifest.graph_digest,
            modality=_MODALITIES[manifest.modality],
            dimensionality=manifest.dimensionality,
            supported_dimensionalities=manifest.supported_dimensionalities,
            default_normalization=NORMALIZATIONS[manifest.normalization],
            pooling=manifest.pooling,
            max_token_count=text.max_token_count if text else 0,
            max_batch_count=self._max_items,
            precision=manifest.precision,
            source=manifest.source.uri,
            execution_provider=model.execution_provider,
            default=catalog.is_default(model),
            prompts=text.prompts if text else {},
            fidelity=pb.Fidelity(**manifest.fidelity.model_dump(exclude={"bounds"})),
        )


def _place(token: str) -> tuple[str, int]:
    """Where the model stands that a page token names; of one that is no reference, before its first version."""
    name, _, version = token.rpartition("@")
    return (name, int(version)) if version.isdecimal() and name else (token, -1)
