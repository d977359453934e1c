"""Rewrites an encoder so that its linear layers and its table of words are int8.

What everybody ships, ONNX Runtime's dynamic quantization, gives a whole activation tensor one scale, taken from its
largest element: a text's vector then depends on its neighbours in the batch. Here no scale is shared between texts:

- Inputs that can be equalized (see `equalization`), which are layer norms' and attention's, have a fixed scale, taken
  from calibration texts. Layer norms have brought every token to one size already.
- All others, which are the GELU's, have a scale for each token, taken from its largest element.

Weights have a scale for each column, the table of words for each row. Sums are exact, in int32. Quantizing hides a NaN,
but there can be none: weights and calibrated values are finite, and so is all that is computed from integers.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes
from numpy.typing import NDArray

from vecserve_export.errors import UnsupportedModelError
from vecserve_export.quantization import calibration
from vecserve_export.quantization.equalization import equalize
from vecserve_export.quantization.linears import Linear, constant, find_linears

_CONTRIB = "com.microsoft"
_LARGEST = 127
"""Of an int8; -128 is not used, so that signs are alike."""
_ZERO_POINT = 128
"""Activations are kept as uint8 around this: ONNX Runtime's matrix products of two int8 are twenty times slower."""
_GELU_DEPTH = 0.17
"""GELU never falls lower than minus this."""
_TABLE_BYTES = 2**20
"""Tables of embeddings below this are left alone."""


def quantize(file: Path, inputs: Iterable[calibration.Feeds]) -> int:
    """Rewrites an fp32 encoder in place.

    Needs ONNX Runtime to run: matrix products with their scales are one of its own operators.

    Args:
        file: An ONNX graph of opset 21.
        inputs: Calibration inputs, one text each.

    Returns:
        How many linear layers there were.

    Raises:
        UnsupportedModelError: a weight, or what calibration computes, is NaN or infinite.
    """
    model = ir.load(file)
    groups = find_linears(model.graph)
    for layers in groups.values():
        for linear in layers:
            _check_finite(linear)
    peaks = calibration.peaks(model, [str(value.name) for value in groups], inputs)
    ranges = equalize(model.graph, groups, peaks)
    rewriter = _Rewriter(model.graph)
    for value, layers in groups.items():
        rewriter.rewrite(value, layers, ranges.get(value))
    for node in list(model.graph):
        if node.op_type == "Gather":
            rewriter.rewrite_table(node)
    _keep_sums_apart(model.graph)
    model.graph.sort()
    model.graph.opset_imports[_CONTRIB] = 1
    passes.RemoveUnusedNodesPass()(model)
    ir.save(model, file)
    return sum(map(len, groups.values()))


class _Rewriter:
    """Adds nodes behind all others; the graph has to be sorted afterwards."""

    def __init__(self, graph: ir.Graph) -> None:
        self._tape = ir.tape.Tape(graph)
        self._zero_point = self._constant("zero_point", np.uint8(_ZERO_POINT))
        self._one = self._constant("one", np.float32(1))
        self._last_axis = self._constant("last_axis", np.array([-1]))
        self._zero_points: dict[str, ir.Value] = {}

    def rewrite(self, value: ir.Value, layers: list[Linear], largest: float | None) -> None:
        """Replaces the linear layers that read a value; those without a largest magnitude get a scale by token."""
        if largest is None:
            scale, integers = self._quantize_tokens(value, layers[0].weight.shape[0])
        else:
            scale = self._constant(f"{value.name}_scale", np.float32(largest / _LARGEST))
            integers = self._tape.op("QuantizeLinear", [value, scale, self._zero_point])
        for linear in layers:
            _replace(linear.output, self._multiply(integers, linear, scale, by_token=largest is None))

    def _quantize_tokens(self, value: ir.Value, channels: int) -> tuple[ir.Value, ir.Value]:
        """A scale for each token, `(batch, sequence, 1)`, and the value in uint8."""
        op = self._tape.op
        scale = op("Mul", [self._magnitude(value), self._constant("inverse", np.float32(1 / _LARGEST))])
        # A token of zeros has a scale of zero and is divided by it; whatever comes out is multiplied by zero again.
        attributes = {"axis": 2, "block_size": channels}
        return scale, op("QuantizeLinear", [value, scale, self._zero_points_like(scale, value)], attributes)

    def _magnitude(self, value: ir.Value) -> ir.Value:
        """At least the largest magnitude of each token."""
        op, along = self._tape.op, {"keepdims": 1}
        largest = op("ReduceMax", [value, self._last_axis], along)
        if (node := value.producer()) is not None and node.op_type == "Gelu":
            return op("Max", [largest, self._constant("gelu_depth", np.float32(_GELU_DEPTH))])
        return op("Max", [largest, op("Neg", [op("ReduceMin", [value, self._last_axis], along)])])

    def _zero_points_like(self, scale: ir.Value, value: ir.Value) -> ir.Value:
        """The zero point in the shape of the scales of a value, made once for each shape."""
        shape = str(value.shape[:-1] if value.shape is not None else value.name)
        if shape not in self._zero_points:
            shape_of = self._tape.op("Shape", [scale])
            self._zero_points[shape] = self._tape.op("Expand", [self._zero_point, shape_of])
        return self._zero_points[shape]

    def _multiply(self, integers: ir.Value, linear: Linear, scale: ir.Value, *, by_token: bool) -> ir.Value:
        weight, weight_scale = quantized(linear.weight, axis=0)
        operands = [
            integers,
            self._constant(f"{linear.name}_weight", weight),
            self._one if by_token else scale,
            self._constant(f"{linear.name}_weight_scale", weight_scale),
            self._zero_point,
        ]
        bias = self._constant(f"{linear.name}_bias", linear.bias)
        if not by_token:
            return self._tape.op("MatMulIntegerToFloat", [*operands, None, bias], domain=_CONTRIB)
        product = self._tape.op("MatMulIntegerToFloat", operands, domain=_CONTRIB)
        return self._tape.op("Add", [self._tape.op("Mul", [product, scale]), bias])

    def rewrite_table(self, gather: ir.Node) -> None:
        """Replaces a large table of embeddings by int8 with a scale for each row."""
        table, rows = constant(gather.inputs[0]), gather.inputs[1]
        if table is None or table.ndim != 2 or table.dtype != np.float32 or table.nbytes < _TABLE_BYTES:
            return
        name, op = gather.outputs[0].name, self._tape.op
        integers, scale = quantized(table, axis=1)
        picked = op("Gather", [self._constant(f"{name}_table", integers), rows])
        scales = op("Gather", [self._constant(f"{name}_table_scale", scale[:, None]), rows])
        floats = op("Cast", [picked], {"to": ir.DataType.FLOAT})
        _replace(gather.outputs[0], op("Mul", [floats, scales]))

    def _constant(self, name: str, array: NDArray[np.generic] | np.generic) -> ir.Value:
        graph = self._tape.graph_like
        name = f"int8_{name}"
        assert isinstance(graph, ir.Graph)
        return graph.initializers.get(name) or self._tape.initializer(ir.tensor(np.asarray(array)), name)


def _check_finite(linear: Linear) -> None:
    if not (np.isfinite(linear.weight).all() and np.isfinite(linear.bias).all()):
        raise UnsupportedModelError(f"the layer before '{linear.name}' has weights that are NaN or infinity")


def _replace(old: ir.Value, new: ir.Value) -> None:
    new.type, new.shape = old.type, old.shape
    old.name, new.name = None, old.name  # which may be the graph's output
    old.replace_all_uses_with(new, replace_graph_outputs=True)


def quantized(matrix: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """A matrix in int8 with one scale, `(channels,)` float32, for what lies along `axis`. Zeros have a scale of 1."""
    largest = np.abs(matrix).max(axis=axis)
    scale = np.where(largest > 0, largest / _LARGEST, 1).astype(np.float32)
    return np.rint(matrix / np.expand_dims(scale, axis)).astype(np.int8), scale


def _keep_sums_apart(graph: ir.Graph) -> None:
    """Writes the Add before each layer norm as Sum, which is the same.

    ONNX Runtime would fuse Add with the layer norm, and its fused operator takes four times as long on CPUs as both.
    """
    for node in list(graph):
        add = node.inputs[0].producer() if node.op_type == "LayerNormalization" and node.inputs[0] else None
        if add is not None and add.op_type == "Add":
            add.op_type = "Sum"
