"""What users have, in each precision: a directory with a configuration, weights and a tokenizer."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file

from vecserve_export.bert import BertExport, export_bert
from vecserve_export.errors import FidelityError
from vecserve_export.fidelity import BOUNDS, Precision
from vecserve_server.models.inputs import InputLimits, TextInputs
from vecserve_server.models.manifest import Manifest, TextInput
from vecserve_server.models.model import TextModel, open_artifact
from vecserve_server.models.session import SessionOptions

TEXTS = ("rain", "the river runs under seven bridges before it reaches a quiet harbour", "a cat on a mat")


def operators(directory: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(directory / "model.onnx").graph.node)


@pytest.fixture(scope="module")
def precise(bert_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Precision, Path]:
    """The tiny BERT in each precision."""
    out = tmp_path_factory.mktemp("precisions")
    exports: dict[Precision, Path] = {}
    for precision in BOUNDS:
        options = BertExport(source=str(bert_directory), out=out, name=precision, precision=precision)
        exports[precision] = export_bert(options).directory
    return exports


@pytest.mark.parametrize("precision", list(BOUNDS))
def test_an_export_says_and_keeps_its_precision(precise: dict[Precision, Path], precision: Precision) -> None:
    manifest = Manifest.read(precise[precision])
    assert manifest.precision == precision
    assert manifest.fidelity.bounds == BOUNDS[precision]
    assert manifest.fidelity.missed == []


@pytest.mark.parametrize("precision", list(BOUNDS))
def test_every_precision_puts_out_fp32_that_no_neighbour_changes(
    precise: dict[Precision, Path], precision: Precision
) -> None:
    model = open_artifact(precise[precision], SessionOptions(), InputLimits())
    assert isinstance(model, TextModel)
    payloads = [item.payload for item in model.prepare(TextInputs(TEXTS))]
    together = model.run(payloads)
    assert together.dtype == np.float32
    alone = np.concatenate([model.run([payload]) for payload in payloads])
    lengths = np.linalg.norm(alone, axis=1, keepdims=True)
    tolerance = BOUNDS[precision]["max_batch_difference"]
    np.testing.assert_allclose(together / lengths, alone / lengths, atol=tolerance, rtol=0)


def test_linear_layers_are_int8_and_share_what_they_read(precise: dict[Precision, Path]) -> None:
    found = operators(precise["int8"])
    assert found["MatMulIntegerToFloat"] == 6
    assert found["QuantizeLinear"] == 4  # queries, keys and values read one
    assert found["MatMul"] == 2  # attention's own two


def test_attention_is_one_operator_in_fp16(precise: dict[Precision, Path]) -> None:
    assert operators(precise["fp16"])["Attention"] == 1
    assert operators(precise["fp32"])["Attention"] == 0


def test_weights_in_pytorchs_own_format_are_read(
    bert_directory: Path, precise: dict[Precision, Path], tmp_path: Path
) -> None:
    directory = tmp_path / "bert"
    shutil.copytree(bert_directory, directory)
    weights = directory / "model.safetensors"
    torch.save(load_file(weights), directory / "pytorch_model.bin")
    weights.unlink()
    published = export_bert(BertExport(source=str(directory), out=tmp_path, name="pickled", precision="int8"))
    model, other = (open_artifact(d, SessionOptions(), InputLimits()) for d in (published.directory, precise["int8"]))
    assert isinstance(model, TextModel)
    assert isinstance(other, TextModel)
    payloads = [item.payload for item in model.prepare(TextInputs(TEXTS))]
    np.testing.assert_array_equal(model.run(payloads), other.run(payloads))


def test_a_directory_named_as_bge_is_exported_as_bge_is_used(bert_directory: Path, tmp_path: Path) -> None:
    source = tmp_path / "bge-small-en-v1.5"
    shutil.copytree(bert_directory, source)
    options = BertExport(source=str(source), out=tmp_path / "out", prompts={"title": "title: "}, precision="int8")
    manifest = export_bert(options).manifest
    assert (manifest.pooling, manifest.normalization) == ("cls", "l2")
    assert isinstance(manifest.input, TextInput)
    assert set(manifest.input.prompts) == {"query", "passage", "title"}


def test_an_export_that_misses_its_bounds_is_not_published(
    bert_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BOUNDS, "int8", {"mean_similarity_error": 1e-12})
    with pytest.raises(FidelityError, match="mean_similarity_error is"):
        export_bert(BertExport(source=str(bert_directory), out=tmp_path, name="strict", precision="int8"))
    assert list(tmp_path.iterdir()) == []
