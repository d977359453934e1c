from collections import Counter
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from vecserve_export.errors import UnsupportedModelError
from vecserve_export.quantization.int8 import quantize, quantized

CHANNELS = 16
RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(size=(CHANNELS, CHANNELS)).astype(np.float32)
BIAS = RNG.normal(size=CHANNELS).astype(np.float32)


def layer(file: Path, *nodes: onnx.NodeProto) -> Path:
    """Writes `y = f(x) @ WEIGHT + BIAS`, where `nodes` compute `f` as "h"."""
    graph = helper.make_graph(
        [*nodes, helper.make_node("MatMul", ["h", "weight"], ["p"]), helper.make_node("Add", ["p", "bias"], ["y"])],
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "sequence", CHANNELS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "sequence", CHANNELS])],
        [numpy_helper.from_array(WEIGHT, "weight"), numpy_helper.from_array(BIAS, "bias")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), file)
    return file


def run(file: Path, x: NDArray[np.float32]) -> NDArray[np.float32]:
    session = cast(Any, ort.InferenceSession(file, providers=["CPUExecutionProvider"]))
    return session.run(["y"], {"x": x})[0]


def tokens(*shape: int) -> NDArray[np.float32]:
    return RNG.normal(size=(*shape, CHANNELS)).astype(np.float32)


def operators(file: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(file).graph.node)


@pytest.fixture
def by_token(tmp_path: Path) -> Path:
    """A layer whose input nothing is known of."""
    file = layer(tmp_path / "layer.onnx", helper.make_node("Identity", ["x"], ["h"]))
    assert quantize(file, [{"x": tokens(2, 3)}]) == 1
    return file


def test_a_column_of_weights_uses_all_of_int8() -> None:
    integers, scale = quantized(WEIGHT, axis=0)
    np.testing.assert_array_equal(np.abs(integers).max(axis=0), 127)
    np.testing.assert_allclose(integers * scale, WEIGHT, atol=float(scale.max()) / 2)


def test_a_row_of_a_table_has_a_scale_of_its_own() -> None:
    table = WEIGHT * np.geomspace(1e-3, 1e3, CHANNELS, dtype=np.float32)[:, None]
    integers, scale = quantized(table, axis=1)
    assert (np.abs(integers * scale[:, None] - table).max(axis=1) <= np.abs(table).max(axis=1) / 250).all()


def test_weights_of_zero_stay_zero() -> None:
    integers, scale = quantized(np.zeros((4, 2), np.float32), axis=0)
    assert not integers.any()
    np.testing.assert_array_equal(scale, 1)


def test_a_layer_computes_what_it_did_to_eight_bits(by_token: Path) -> None:
    x = tokens(3, 5)
    exact = x @ WEIGHT + BIAS
    assert np.abs(run(by_token, x) - exact).max() < 0.03 * np.abs(exact).max()


def test_a_token_is_not_touched_by_its_neighbours(by_token: Path) -> None:
    x = tokens(4, 5)
    alone = run(by_token, x[:1, :2])
    x[1:] *= 1000
    x[0, 2:] = 0
    np.testing.assert_array_equal(run(by_token, x)[:1, :2], alone)


@pytest.mark.parametrize("size", [1e-30, 1e-3, 1.0, 1e4, 1e30])
def test_tokens_of_every_size_keep_their_bits(by_token: Path, size: float) -> None:
    x = tokens(1, 4) * np.float32(size)
    exact = x @ WEIGHT
    assert np.abs(run(by_token, x) - BIAS - exact).max() < 0.03 * np.abs(exact).max() + 1e-6


def test_a_token_of_zeros_gives_the_bias(by_token: Path) -> None:
    x = tokens(1, 3)
    x[0, 1] = 0
    np.testing.assert_array_equal(run(by_token, x)[0, 1], BIAS)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    file = layer(tmp_path / "layer.onnx", helper.make_node("Identity", ["x"], ["h"]))
    model = onnx.load(file)
    bad = WEIGHT.copy()
    bad[3, 4] = value
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(bad, "weight"))
    onnx.save(model, file)
    with pytest.raises(UnsupportedModelError, match=r"the layer before 'y'.*NaN or infinity"):
        quantize(file, [{"x": tokens(1, 2)}])


def test_calibration_that_overflows_is_refused(tmp_path: Path) -> None:
    file = layer(tmp_path / "layer.onnx", helper.make_node("Exp", ["x"], ["h"]))
    with pytest.raises(UnsupportedModelError, match="'h' becomes NaN or infinite"):
        quantize(file, [{"x": tokens(1, 2) + np.float32(1000)}])


@pytest.mark.parametrize("shift", [-8.0, -0.5, 0.0, 0.5, 8.0])
def test_what_comes_from_a_gelu_is_covered(tmp_path: Path, shift: float) -> None:
    file = layer(tmp_path / "layer.onnx", helper.make_node("Gelu", ["x"], ["h"]))
    x = tokens(2, 4) + np.float32(shift)
    exact = run(file, x) - BIAS
    quantize(file, [{"x": tokens(1, 2)}])
    assert operators(file)["ReduceMin"] == 0
    # Values of a deeply negative token are rounded away: they are less than one step of a scale of 0.17.
    assert np.abs(run(file, x) - BIAS - exact).max() < 0.03 * max(np.abs(exact).max(), 0.17)
