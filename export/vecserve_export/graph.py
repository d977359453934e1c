"""PyTorch modules to ONNX files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from vecserve_export.errors import UnsupportedModelError
from vecserve_server.models.manifest import METADATA_PREFIX

# An inner node of the exporter is called `embedding`, and an output of that name collides with it.
OUTPUT = "embeddings"

_PROTOBUF_LIMIT = 2**31 - 2**24
"""Largest file that ONNX can hold, less room for the graph beside the weights."""


def write_graph(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    dynamic_shapes: Mapping[str, Any],
    file: Path,
    facts: Mapping[str, str],
) -> None:
    """Writes a module as one ONNX file whose only output is called `OUTPUT`.

    Args:
        module: takes `inputs` by position and returns `(batch, dimensionality)` float32.
        inputs: an example of each input, by name, in the order of the module's arguments.
        dynamic_shapes: for each input, which of its axes may vary, as `torch.export.export` takes them.
        file: where to write.
        facts: what the file says of itself, by the manifest's fields: `Manifest.graph_facts`.

    Raises:
        UnsupportedModelError: the weights exceed what one ONNX file can hold, or ONNX lacks an operation of the model.
    """
    _check_size(module)
    try:
        program = torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            dynamo=True,
            opset_version=21,  # the first whose QuantizeLinear takes a scale for each row of more than two axes
            verbose=False,
            input_names=list(inputs),
            output_names=[OUTPUT],
            dynamic_shapes=dict(dynamic_shapes),
        )
    except torch.onnx.OnnxExporterError as error:
        raise UnsupportedModelError(f"PyTorch can't express the model as ONNX: {error}") from error
    assert program is not None, "torch.onnx.export returns None only when it is given a file"
    program.model.metadata_props.update({f"{METADATA_PREFIX}{field}": fact for field, fact in facts.items()})
    program.save(file, external_data=False)
    onnx.checker.check_model(file, full_check=True)
    _check_axes(file, dynamic_shapes)


def _check_size(module: nn.Module) -> None:
    size = sum(tensor.nbytes for tensor in module.state_dict().values())
    if size > _PROTOBUF_LIMIT:
        raise UnsupportedModelError(
            f"the model's weights take {size / 2**30:.2f} GiB, and an artifact's single ONNX file holds less than 2 GiB"
        )


def _check_axes(file: Path, dynamic_shapes: Mapping[str, Any]) -> None:
    """Makes sure that tracing fixed no axis that has to stay open."""
    for value in onnx.load(file).graph.input:
        dimensions = value.type.tensor_type.shape.dim
        fixed = [axis for axis in dynamic_shapes[value.name] if not dimensions[axis].dim_param]
        if fixed:
            raise UnsupportedModelError(
                f"the model can't be exported: its graph takes one size only on axes {fixed} of '{value.name}'"
            )
