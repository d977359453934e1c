"""Gives the channels of a tensor one size, so that one scale of int8 suits them all.

A few channels of an encoder's hidden states are ten times as large as the rest, and an int8 scale made for them leaves
the rest a few bits. What divides a channel can be taken back, without changing the result, by multiplying the weights
that read it: SmoothQuant (Xiao et al., 2022, https://arxiv.org/abs/2211.10438).
"""

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from vecserve_export.quantization.linears import Linear, constant, readers

_MIGRATION = 0.8
"""How much of the differences moves from activations into weights. The paper takes 0.5; more pays here, as weights have
a scale for each channel and activations one in all. From 0.7 to 0.9 made little difference."""

_LAYER_NORM_HEADROOM = 1.2
_ATTENTION_HEADROOM = 2.5
"""Over the largest magnitude that calibration saw; what exceeds it is clipped. Attention needs more: on texts in a
language that a model was not trained for, it put out twice what it did on others."""

Divide = Callable[[NDArray[np.float32]], None]


def equalize(
    graph: ir.Graph, groups: Mapping[ir.Value, list[Linear]], peaks: Mapping[str, NDArray[np.float32]]
) -> dict[ir.Value, float]:
    """Equalizes the inputs of linear layers where what makes them can be divided: layer norms, and attention.

    The graph computes what it did, to rounding.

    Args:
        graph: Is changed, as are the weights in `groups`.
        groups: Linear layers by input.
        peaks: Largest magnitude of each channel of the inputs, by name.

    Returns:
        The largest magnitude to expect of each input that was equalized.
    """
    outputs = {linear.output: linear for layers in groups.values() for linear in layers}
    ranges: dict[ir.Value, float] = {}
    for value, layers in groups.items():
        by_layer_norm = _layer_norm(graph, value)
        if divide := by_layer_norm or _attention(value, outputs):
            peak = np.maximum(peaks[str(value.name)], np.finfo(np.float32).tiny)
            factors = _factors(peak, np.max([np.abs(linear.weight).max(axis=1) for linear in layers], axis=0))
            divide(factors)
            for linear in layers:
                linear.weight = linear.weight * factors[:, None]
            _restore(graph, value, groups, factors)
            headroom = _LAYER_NORM_HEADROOM if by_layer_norm else _ATTENTION_HEADROOM
            ranges[value] = float((peak / factors).max()) * headroom
    return ranges


def _factors(peak: NDArray[np.float32], weight_peak: NDArray[np.float32]) -> NDArray[np.float32]:
    """What to divide each channel by, `(channels,)`; their geometric mean is 1."""
    floor = np.float32(1e-5)  # channels that are hardly used would get factors without measure
    activations = np.maximum(peak, floor * peak.max())
    weights = np.maximum(weight_peak, floor * max(weight_peak.max(), floor))
    logarithms = _MIGRATION * np.log(activations) - (1 - _MIGRATION) * np.log(weights)
    return np.exp(logarithms - logarithms.mean()).astype(np.float32)


def _layer_norm(graph: ir.Graph, value: ir.Value) -> Divide | None:
    """Divides what a layer norm puts out by way of its scale and bias."""
    node = value.producer()
    if node is None or node.op_type != "LayerNormalization":
        return None
    parameters = [(index, array) for index in (1, 2) if (array := _parameter(node, index)) is not None]
    if not parameters:
        return None

    def divide(factors: NDArray[np.float32]) -> None:
        for index, array in parameters:
            node.replace_input_with(index, _initializer(graph, f"{value.name}_parameter_{index}", array / factors))

    return divide


def _parameter(node: ir.Node, index: int) -> NDArray[np.float32] | None:
    return constant(node.inputs[index]) if index < len(node.inputs) else None


def _attention(context: ir.Value, outputs: Mapping[ir.Value, Linear]) -> Divide | None:
    """Divides what attention puts out by way of the layer that makes its values, whose channels it averages."""
    averages = _back(context, "Reshape", "Transpose", "MatMul")
    values = averages and averages.inputs[1] and _back(averages.inputs[1], "Transpose", "Reshape")
    linear = outputs.get(source) if values and (source := values.inputs[0]) else None
    if linear is None or len(linear.output.uses()) != 1:
        return None

    def divide(factors: NDArray[np.float32]) -> None:
        linear.weight, linear.bias = linear.weight / factors, linear.bias / factors

    return divide


def _back(value: ir.Value, *operators: str) -> ir.Node | None:
    """The node behind a value, if it comes from these operators, the last first; heads and positions may be swapped."""
    node: ir.Node | None = None
    current: ir.Value | None = value
    for operator in operators:
        node = current.producer() if current is not None else None
        if node is None or node.op_type != operator:
            return None
        if operator == "Transpose" and list(node.attributes["perm"].as_ints()) != [0, 2, 1, 3]:
            return None
        current = node.inputs[0]
    return node


def _restore(
    graph: ir.Graph, value: ir.Value, groups: Mapping[ir.Value, list[Linear]], factors: NDArray[np.float32]
) -> None:
    """Multiplies again what others than linear layers read: the residual connection."""
    nodes = readers(value, groups)
    if not nodes:
        return
    tape = ir.tape.Tape(graph)
    restored = tape.op("Mul", [value, _initializer(graph, f"{value.name}_factors", factors)])
    for node in nodes:
        for index, source in enumerate(node.inputs):
            if source is value:
                node.replace_input_with(index, restored)


def _initializer(graph: ir.Graph, name: str, array: NDArray[np.float32]) -> ir.Value:
    return ir.tape.Tape(graph).initializer(ir.tensor(array.astype(np.float32)), name)
