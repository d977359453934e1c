"""The linear layers of a graph: what int8 is worth the trouble for."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray


@dataclass(slots=True)
class Linear:
    """`input @ weight + bias`: a MatMul with a constant matrix, and the Add of a constant behind it."""

    input: ir.Value
    weight: NDArray[np.float32]
    """`(channels in, channels out)`."""
    bias: NDArray[np.float32]
    """`(channels out,)`; zeros where the layer has none."""
    output: ir.Value

    @property
    def name(self) -> str:
        return str(self.output.name)


def find_linears(graph: ir.Graph) -> dict[ir.Value, list[Linear]]:
    """All linear layers, in the graph's order, by what they read: queries, keys and values often read the same."""
    groups: dict[ir.Value, list[Linear]] = {}
    for node in graph:
        if linear := _linear(node):
            groups.setdefault(linear.input, []).append(linear)
    return groups


def constant(value: ir.Value | None) -> NDArray[np.float32] | None:
    """The elements of an initializer; None for what is computed."""
    if value is None or value.const_value is None:
        return None
    return value.const_value.numpy()


def readers(value: ir.Value, groups: Mapping[ir.Value, list[Linear]]) -> list[ir.Node]:
    """The nodes that read a value beside its linear layers, such as the residual connection."""
    layers = {linear.output for linear in groups[value]}
    return [node for node in value.consumers() if _with_bias(node)[0] not in layers]


def _linear(node: ir.Node) -> Linear | None:
    source, weight = node.inputs[0], constant(node.inputs[1]) if node.op_type == "MatMul" else None
    if source is None or weight is None or weight.ndim != 2:
        return None
    output, bias = _with_bias(node)
    if bias is None:
        bias = np.zeros(weight.shape[1], np.float32)
    return Linear(source, weight, bias, output)


def _with_bias(node: ir.Node) -> tuple[ir.Value, NDArray[np.float32] | None]:
    """What a node puts out and, where all that becomes of it is a sum with a constant vector, that sum and vector."""
    (output, *_), uses = node.outputs, list(node.outputs[0].uses())
    if len(uses) == 1 and uses[0].node.op_type == "Add":
        bias = constant(uses[0].node.inputs[1 - uses[0].idx])
        if bias is not None and bias.ndim == 1:
            return uses[0].node.outputs[0], bias
    return output, None
