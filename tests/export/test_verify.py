import shutil
from pathlib import Path
from typing import Any, cast

import onnx
import pytest
from onnxruntime.quantization import quantize_dynamic

from vecserve_export import probes, samples
from vecserve_export.encoder import encode, load_encoder, load_tokenizer
from vecserve_export.errors import ExportError, FidelityError
from vecserve_export.verify import UNMEASURED, Reference, verify
from vecserve_server.models.inputs import TextInputs
from vecserve_server.models.manifest import (
    GRAPH_FILE,
    METADATA_PREFIX,
    TOKENIZER_FILE,
    Manifest,
    file_digest,
)


@pytest.fixture(scope="module")
def references(bert_directory: Path) -> list[Reference]:
    """Odd samples and probes."""
    encoder, tokenizer = load_encoder(bert_directory), load_tokenizer(bert_directory, lowercase=False)
    return [
        Reference(TextInputs(texts), encode(encoder, tokenizer, texts, "mean", 48))
        for texts in (samples.texts(48), probes.texts())
    ]


@pytest.fixture
def staged(tiny_models: Path, tmp_path: Path) -> Path:
    """The tiny BERT's files, without the manifest."""
    for file in (GRAPH_FILE, TOKENIZER_FILE):
        shutil.copy(tiny_models / "mean" / "1" / file, tmp_path)
    return tmp_path


def manifest_for(staged: Path, tiny_models: Path, **changes: Any) -> Manifest:
    manifest = Manifest.read(tiny_models / "mean" / "1")
    return manifest.model_copy(
        update={"graph_digest": file_digest(staged / GRAPH_FILE), "fidelity": UNMEASURED, **changes}
    )


def test_what_is_measured_is_written(staged: Path, tiny_models: Path, references: list[Reference]) -> None:
    measured = verify(staged, manifest_for(staged, tiny_models), *references)
    assert Manifest.read(staged) == measured
    assert measured.fidelity == Manifest.read(tiny_models / "mean" / "1").fidelity


def test_int8_that_scales_whole_batches_is_refused_for_what_company_does_to_its_vectors(
    staged: Path, tiny_models: Path, references: list[Reference]
) -> None:
    cast(Any, quantize_dynamic)(staged / GRAPH_FILE, staged / GRAPH_FILE, per_channel=True)
    graph = onnx.load(staged / GRAPH_FILE)
    facts = {**Manifest.read(tiny_models / "mean" / "1").graph_facts, "precision": "int8"}
    onnx.helper.set_model_props(graph, {f"{METADATA_PREFIX}{field}": fact for field, fact in facts.items()})
    onnx.save(graph, staged / GRAPH_FILE)

    with pytest.raises(FidelityError, match=r"max_batch_difference is [0-9.e-]+, and at most 1e-06 is allowed"):
        verify(staged, manifest_for(staged, tiny_models, precision="int8"), *references)


def test_what_the_server_would_not_open_is_refused(
    staged: Path, tiny_models: Path, references: list[Reference]
) -> None:
    with pytest.raises(ExportError, match=r"can't be served: .*manifest precision is 'int8'"):
        verify(staged, manifest_for(staged, tiny_models, precision="int8"), *references)
