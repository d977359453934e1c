"""Models as the protocol describes them. Pure."""

from collections.abc import Sequence

from vecserve.oip import grpc_inference_service_pb2 as pb
from vecserve.oip import model_config_pb2 as config_pb
from vecserve_server.api.oip.signatures import OUTPUT, in_words, signatures
from vecserve_server.engine.priority import Priority
from vecserve_server.models.model import AnyModel

_PLATFORM = "onnxruntime_onnx"
_ANY = -1


def metadata(model: AnyModel, versions: Sequence[str]) -> pb.ModelMetadataResponse:
    """What the model takes and gives, the batch included, and the versions of its name that are served."""
    tensor = pb.ModelMetadataResponse.TensorMetadata
    inputs, *_ = signatures(model)
    return pb.ModelMetadataResponse(
        name=model.name,
        versions=versions,
        platform=_PLATFORM,
        inputs=[tensor(name=spec.name, datatype="BYTES", shape=[_ANY, 1]) for spec in inputs],
        outputs=[tensor(name=OUTPUT, datatype="FP32", shape=[_ANY, model.manifest.dimensionality])],
    )


def configuration(model: AnyModel, max_items: int) -> config_pb.ModelConfig:
    """The same without the batch, and how the model is batched."""
    inputs, *alternatives = signatures(model)
    taken = config_pb.ModelParameter(string_value="; or ".join(map(in_words, alternatives)))
    return config_pb.ModelConfig(
        name=model.name,
        platform=_PLATFORM,
        backend="onnxruntime",
        max_batch_size=max_items,
        input=[config_pb.ModelInput(name=spec.name, data_type=config_pb.TYPE_STRING, dims=[1]) for spec in inputs],
        output=[
            config_pb.ModelOutput(name=OUTPUT, data_type=config_pb.TYPE_FP32, dims=[model.manifest.dimensionality])
        ],
        dynamic_batching=config_pb.ModelDynamicBatching(priority_levels=len(Priority), default_priority_level=1),
        parameters={"alternative_inputs": taken},
    )
