from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from vecserve_export.quantization import calibration
from vecserve_export.quantization.equalization import equalize
from vecserve_export.quantization.int8 import quantize
from vecserve_export.quantization.linears import find_linears

RNG = np.random.default_rng(0)


def batch(texts: int, tokens: int) -> dict[str, NDArray[np.int64]]:
    return {"input_ids": RNG.integers(5, 40, (texts, tokens)), "attention_mask": np.ones((texts, tokens), np.int64)}


def vectors(model: ir.Model, feeds: calibration.Feeds) -> NDArray[np.float32]:
    session = cast(Any, ort.InferenceSession(ir.to_proto(model).SerializeToString()))
    return session.run(None, feeds)[0]


@pytest.mark.parametrize("name", ["mean", "roberta", "distilbert"])
def test_layer_norms_and_attention_are_equalized(tiny_models: Path, name: str) -> None:
    model = ir.load(tiny_models / name / "1" / "model.onnx")
    groups = find_linears(model.graph)
    peaks = calibration.peaks(model, [str(value.name) for value in groups], [batch(1, 9)])
    ranges = equalize(model.graph, groups, peaks)
    kinds = [value.producer() for value in groups if value in ranges]
    assert [node.op_type for node in kinds if node] == ["LayerNormalization", "Reshape", "LayerNormalization"]
    assert len(groups) == 4  # the fourth comes from the GELU


@pytest.mark.parametrize("name", ["mean", "cls", "roberta", "distilbert"])
def test_a_quantized_encoder_keeps_its_vectors_in_any_company(tiny_models: Path, tmp_path: Path, name: str) -> None:
    exact = ir.load(tiny_models / name / "1" / "model.onnx")
    file = tmp_path / "model.onnx"
    ir.save(exact, file)
    assert quantize(file, [batch(1, 9), batch(1, 17)]) == 6
    model = ir.load(file)
    feeds = batch(6, 11)
    feeds["attention_mask"][1:, 7:] = 0
    feeds["attention_mask"][3, 2:] = 0
    together, expected = vectors(model, feeds), vectors(exact, feeds)
    lengths = np.linalg.norm(expected, axis=1)
    assert ((together * expected).sum(axis=1) / lengths / np.linalg.norm(together, axis=1)).min() > 0.995
    alone = vectors(model, {name: array[3:4, :2] for name, array in feeds.items()})
    np.testing.assert_allclose(alone[0] / lengths[3], together[3] / lengths[3], atol=1e-6)
