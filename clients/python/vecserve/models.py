"""What a server says of the models it has loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

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
class Fidelity:
    """How far a graph was from fp32 PyTorch on a fixed set of ordinary inputs, the probes, when it was exported.

    The similarity of two probes is the cosine between their vectors.
    """

    probe_set: str
    """Name of the set of probes: figures of two sets can't be compared."""
    samples: int
    """Number of probes."""
    max_absolute_error: float
    """Largest difference of one element of a vector, not normalized."""
    min_cosine: float
    """Smallest cosine between a probe's vector and PyTorch's."""
    p1_cosine: float
    """Its 1st percentile."""
    mean_cosine: float
    max_similarity_error: float
    """Largest difference of the similarity of two probes."""
    mean_similarity_error: float
    min_rank_correlation: float
    """Smallest Spearman correlation of the order in which a probe's similarity puts all others."""
    mean_rank_correlation: float
    mean_top10_overlap: float
    """Share of a probe's ten most similar others that are the same, averaged over the probes."""
    max_batch_difference: float
    """Largest difference of one element between the unit vectors of a probe alone and in a batch."""
    min_batch_cosine: float
    """Smallest cosine between the vectors of a probe alone and in a batch."""

    @classmethod
    def from_proto(cls, fidelity: model_service_pb2.Fidelity) -> "Fidelity":
        """Return the same as a plain value."""
        return cls(**{field.name: getattr(fidelity, field.name) for field in fields(cls)})


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
    fidelity: Fidelity | None
    """How true its vectors are; None from a server that doesn't say."""

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
            fidelity=Fidelity.from_proto(model.fidelity) if model.HasField("fidelity") else None,
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
