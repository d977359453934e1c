"""The manifest: the whole contract between an export and the server.

An artifact is a directory `<name>/<version>/` that holds `model.onnx`, `manifest.json` and, for texts,
`tokenizer.json`. Name and version are the directories'; everything else that the server must know is here.
"""

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from vecserve_server.models.fidelity import Fidelity
from vecserve_server.models.record import Record
from vecserve_server.validation import describe

GRAPH_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
TOKENIZER_FILE = "tokenizer.json"

METADATA_PREFIX = "vecserve."
"""Comes before a field's path where the graph's own metadata states the same as the field."""

Sha256 = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Positive = Annotated[int, Field(gt=0)]


class ArtifactError(Exception):
    """An artifact can't be served: a file is missing, altered, or contradicts its manifest."""


class TextInput(Record):
    """How texts become the graph's inputs, `input_ids` and `attention_mask`: `(batch, sequence)` int64."""

    modality: Literal["text"] = "text"
    max_token_count: Positive
    """Most tokens of a text that the model reads, special tokens included."""
    pad_token_id: Annotated[int, Field(ge=0)]
    tokenizer_digest: Sha256
    prompts: dict[str, str] = Field(default_factory=dict[str, str])
    """Texts put before the input, by name."""


class ImageInput(Record):
    """How images become the graph's input, `pixels`: `(batch, crop_size, crop_size, 3)` uint8 RGB.

    Scaling to [0, 1], mean and standard deviation are inside the graph, and recorded here to be known.
    """

    modality: Literal["image"] = "image"
    resize_size: Positive
    """Length of the shorter edge after resizing, in pixels; the aspect ratio is kept."""
    crop_size: Positive
    """Edge of the square cut from the centre, in pixels."""
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        if self.crop_size > self.resize_size:
            raise ValueError(f"crop_size {self.crop_size} exceeds resize_size {self.resize_size}")
        return self


class Source(Record):
    """Where the weights came from."""

    uri: Annotated[str, Field(min_length=1)]
    """Shown to clients, e.g. `google-bert/bert-base-uncased@86b5e09` or `random:0`."""
    digest: Sha256 | None
    """Of the weights file, where there is one."""
    random: bool = False
    """Whether the weights were never trained: the vectors have the right shape and mean nothing."""


class Manifest(Record):
    """Everything that the server must know of an artifact, and a user may want to."""

    schema_version: Literal[2] = 2
    graph_digest: Sha256
    input: Annotated[TextInput | ImageInput, Field(discriminator="modality")]
    output: Annotated[str, Field(min_length=1)]
    """Name of the graph's output: `(batch, dimensionality)` float32."""
    dimensionality: Positive
    supported_dimensionalities: tuple[Positive, ...]
    pooling: Literal["mean", "cls", "pool", "logits"]
    normalization: Literal["none", "l2"]
    """Applied by default, and by the server: the graph's output is not normalized."""
    precision: Literal["fp32", "fp16", "int8"]
    source: Source
    fidelity: Fidelity
    exported_at: datetime
    exported_with: dict[str, str]
    """Versions of the tools, by package name."""

    @model_validator(mode="after")
    def _whole_vector_is_supported(self) -> Self:
        sizes = self.supported_dimensionalities
        if list(sizes) != sorted(set(sizes)) or sizes[-1:] != (self.dimensionality,):
            raise ValueError(
                f"supported_dimensionalities {list(sizes)} must rise to dimensionality {self.dimensionality}"
            )
        return self

    @model_validator(mode="after")
    def _bounds_are_kept(self) -> Self:
        if missed := self.fidelity.missed:
            raise ValueError("; ".join(f"fidelity.{why}" for why in missed))
        return self

    @property
    def modality(self) -> Literal["text", "image"]:
        return self.input.modality

    @property
    def graph_facts(self) -> dict[str, str]:
        """What the graph must say of itself too, by field: nothing that it computes would show them to be wrong."""
        text = {"input.max_token_count": str(self.input.max_token_count)} if isinstance(self.input, TextInput) else {}
        return {"precision": self.precision, "pooling": self.pooling, **text}

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Reads and validates `directory/manifest.json`.

        Raises:
            ArtifactError: it can't be read, or a field is missing, unknown or has a value that is not allowed.
        """
        path = directory / MANIFEST_FILE
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise ArtifactError(f"{path}: {error.strerror}") from error
        except ValidationError as error:
            raise ArtifactError(f"{path}: {_explain(error)}") from error

    def check_files(self, directory: Path) -> None:
        """Compares the files beside the manifest with the digests it states.

        Raises:
            ArtifactError: a file is missing, or is not the one that was exported.
        """
        _check_digest(directory / GRAPH_FILE, "graph_digest", self.graph_digest)
        if isinstance(self.input, TextInput):
            _check_digest(directory / TOKENIZER_FILE, "input.tokenizer_digest", self.input.tokenizer_digest)


def file_digest(path: Path) -> str:
    """`sha256:` and the hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _check_digest(path: Path, field: str, expected: str) -> None:
    try:
        actual = file_digest(path)
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}") from error
    if actual != expected:
        raise ArtifactError(
            f"{path} is not the file that was exported: manifest {field} is {expected}, its own {actual}"
        )


def _explain(error: ValidationError) -> str:
    """What is wrong; of a manifest of another version only that, since any other field may differ with it."""
    for problem in error.errors():
        if problem["loc"] == ("schema_version",):
            return (
                f"schema_version is {problem['input']!r:.80}, and this vecserve reads 2: export the model anew with "
                "'vecserve export'"
            )
    return describe(error)
