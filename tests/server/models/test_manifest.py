import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vecserve_server.models.manifest import MANIFEST_FILE, ArtifactError, ImageInput, Manifest, TextInput, file_digest

ManifestOf = Callable[..., Manifest]
Write = Callable[[dict[str, Any]], Path]

TEXT = {"modality": "text", "max_token_count": 8, "pad_token_id": 0, "tokenizer_digest": f"sha256:{'a' * 64}"}


@pytest.fixture
def write(tmp_path: Path, manifest_of: ManifestOf) -> Write:
    """Writes a manifest that is valid but for the changes, each at a dotted path; None takes the field out."""

    def write(changes: dict[str, Any]) -> Path:
        fields = json.loads(manifest_of().model_dump_json())
        for path, value in changes.items():
            *parents, name = path.split(".")
            record = fields
            for parent in parents:
                record = record[parent]
            if value is None:
                del record[name]
            else:
                record[name] = value
        (tmp_path / MANIFEST_FILE).write_text(json.dumps(fields))
        return tmp_path

    return write


def test_what_was_written_is_read(write: Write, manifest_of: ManifestOf) -> None:
    manifest = Manifest.read(write({}))

    assert manifest == manifest_of()
    assert isinstance(manifest.input, ImageInput)
    assert manifest.modality == "image"


def test_the_modality_says_which_input_it_is(write: Write) -> None:
    manifest = Manifest.read(write({"input": TEXT}))

    assert isinstance(manifest.input, TextInput)
    assert manifest.modality == "text"
    assert manifest.input.prompts == {}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("dimensionality", None, "dimensionality: Field required"),
        ("flavour", "sweet", "flavour: Extra inputs are not permitted (given: 'sweet')"),
        ("input.flavour", 1, "input.image.flavour: Extra inputs are not permitted (given: 1)"),
        ("graph_digest", "md5:0", "graph_digest: String should match pattern '^sha256:[0-9a-f]{64}$' (given: 'md5:0')"),
        ("graph_digest", f"sha256:{'A' * 64}", "graph_digest: String should match pattern"),
        ("dimensionality", 0, "dimensionality: Input should be greater than 0 (given: 0)"),
        ("precision", "fp8", "precision: Input should be 'fp32', 'fp16' or 'int8' (given: 'fp8')"),
        ("pooling", "max", "pooling: Input should be 'mean', 'cls', 'pool' or 'logits' (given: 'max')"),
        ("normalization", "l1", "normalization: Input should be 'none' or 'l2' (given: 'l1')"),
        ("input.modality", "audio", "'audio'"),
        ("input.crop_size", 10, "crop_size 10 exceeds resize_size 9"),
        ("input.mean", [0, 0], "input.image.mean.2: Field required"),
        ("input.interpolation", "area", "input.image.interpolation: Input should be"),
        ("output", "", "output: String should have at least 1 character (given: '')"),
        ("source.uri", "", "source.uri: String should have at least 1 character"),
        ("fidelity.min_cosine", 1.5, "fidelity.min_cosine: Input should be less than or equal to 1 (given: 1.5)"),
        ("fidelity.max_absolute_error", -1, "fidelity.max_absolute_error: Input should be greater than or equal to 0"),
        ("fidelity.mean_top10_overlap", None, "fidelity.mean_top10_overlap: Field required"),
        ("fidelity.bounds.speed", 1, "fidelity.bounds.speed"),
        ("fidelity.min_cosine", 0.9, "fidelity.min_cosine is 0.9000000, and at least 0.98 is asked for"),
        (
            "fidelity.max_batch_difference",
            0.03,
            "fidelity.max_batch_difference is 0.03, and at most 1e-06 is allowed",
        ),
        ("exported_at", "yesterday", "exported_at: Input should be a valid datetime"),
        ("supported_dimensionalities", [2], "supported_dimensionalities [2] must rise to dimensionality 3"),
        ("supported_dimensionalities", [3, 2], "supported_dimensionalities [3, 2] must rise to dimensionality 3"),
        ("supported_dimensionalities", [3, 3], "supported_dimensionalities [3, 3] must rise to dimensionality 3"),
        ("supported_dimensionalities", [], "supported_dimensionalities [] must rise to dimensionality 3"),
    ],
)
def test_a_field_that_is_wrong_is_named_with_its_value(write: Write, path: str, value: Any, message: str) -> None:
    directory = write({path: value})

    with pytest.raises(ArtifactError) as refusal:
        Manifest.read(directory)

    assert str(directory / MANIFEST_FILE) in str(refusal.value)
    assert message in str(refusal.value)


@pytest.mark.parametrize("version", [1, 3])
def test_a_manifest_of_another_version_is_refused_by_that_alone(write: Write, version: int) -> None:
    directory = write({"schema_version": version, "fidelity": {"samples": 1}})

    with pytest.raises(ArtifactError) as refusal:
        Manifest.read(directory)

    assert str(refusal.value) == (
        f"{directory / MANIFEST_FILE}: schema_version is {version}, and this vecserve reads 2: export the model anew "
        "with 'vecserve export'"
    )


def test_every_wrong_field_is_named(write: Write) -> None:
    directory = write({"precision": "fp8", "pooling": None})

    with pytest.raises(ArtifactError, match=r"pooling: Field required; precision: Input should be .*"):
        Manifest.read(directory)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"graph_digest": NaN}'])
def test_what_is_no_manifest_is_refused_by_its_path(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST_FILE).write_bytes(content)

    with pytest.raises(ArtifactError, match=str(tmp_path / MANIFEST_FILE)):
        Manifest.read(tmp_path)


def test_a_manifest_that_is_missing_is_refused_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"manifest\.json: No such file or directory"):
        Manifest.read(tmp_path)


def test_a_digest_is_the_sha256_of_the_files_bytes(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()

    digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert file_digest(tmp_path / "empty") == digest
