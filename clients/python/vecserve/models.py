"""What a server says of the models it has loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vecserve.v1 import embedding_service_pb2, model_service_pb2


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """The exact model that computed some vectors."""

    name: str
    version: str
    """The version directory in the server's model repository, e.g. `1`."""
    digest: str
    """Digest of the ONNX file: vectors with equal digests are comparable."""

    @classmethod
    def from_proto(cls, model: embedding_service_pb2.ModelVersion) -> "ModelVersion":
        """Return the same as a plain value."""
        return cls(model.name, model.version, model.digest)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A loaded model: what a caller must know to use it, and where its vectors come from."""

    name: str
    """What calls name it by."""
    version: str
    digest: str
    """SHA-256 of the ONNX file, as `sha256:` and 64 hexadecimal digits."""
    modality: str
    """`text` or `image`."""
    dimensionality: int
    """Elements of a whole vector."""
    supported_dimensionalities: tuple[int, ...]
    """What a call's `dimensionality` may be, ascending."""
    default_normalization: str
    """What a call that leaves `normalize` open gets: `l2` or `none`."""
    pooling: str
    """`mean` or `cls` over tokens, `pool` over image positions, `logits` where the vector is a classifier's output."""
    max_token_count: int
    """Most tokens of one text that the model reads, special tokens included. 0 for image models."""
    max_batch_count: int
    """Most items that one request may carry, hence the largest `batch_size`."""
    precision: str
    """Arithmetic of the graph: `fp32`, `fp16` or `int8`."""
    source: str
    """Where the weights came from."""
    execution_provider: str
    """The ONNX Runtime provider that runs it."""
    default: bool
    """Whether calls of its modality that name no model get this one."""
    prompts: Mapping[str, str] = field(hash=False)
    """Texts put before the input, by the name that a call's `prompt` selects."""

    @classmethod
    def from_proto(cls, model: model_service_pb2.Model) -> "ModelInfo":
        """Return the same as a plain value."""
        return cls(
            name=model.name,
            version=model.version,
            digest=model.digest,
            modality=_modality(model.modality),
            dimensionality=model.dimensionality,
            supported_dimensionalities=tuple(model.supported_dimensionalities),
            default_normalization=_normalization(model.default_normalization),
            pooling=model.pooling,
            max_token_count=model.max_token_count,
            max_batch_count=model.max_batch_count,
            precision=model.precision,
            source=model.source,
            execution_provider=model.execution_provider,
            default=model.default,
            prompts=dict(model.prompts),
        )


def _modality(value: model_service_pb2.Modality.ValueType) -> str:
    known = value in model_service_pb2.Modality.values()
    # A newer server may know more kinds than these stubs do.
    return model_service_pb2.Modality.Name(value).removeprefix("MODALITY_").lower() if known else str(value)


def _normalization(value: embedding_service_pb2.Normalization.ValueType) -> str:
    known = value in embedding_service_pb2.Normalization.values()
    return (
        embedding_service_pb2.Normalization.Name(value).removeprefix("NORMALIZATION_").lower() if known else str(value)
    )
