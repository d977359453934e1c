"""Attention as one operator, for GPUs: ONNX Runtime's CUDA kernels for it are many times faster than its parts."""

from pathlib import Path

import onnx_ir as ir
import onnx_ir.passes.common as passes
from onnxscript.optimizer import optimize
from onnxscript.rewriter.ort_fusions import attention, mha, mha_bias, sdpa, shape_optimization


def fuse_attention(file: Path) -> int:
    """Replaces the parts of attention in an ONNX file by `com.microsoft.Attention` where they are found.

    ONNX Runtime fuses attention by itself in graphs of PyTorch's former exporter only.

    Returns:
        How many there were.
    """
    model = ir.load(file)
    passes.ShapeInferencePass()(model)
    optimize(model)
    shape_optimization.rules.apply_to_model(model)
    optimize(model)
    sdpa.fuse_sdpa(model)
    mha.fuse_mha1(model)
    mha.fuse_mha2(model)
    mha_bias.fuse_mha_bias(model)
    attention.fuse_attention(model)
    passes.RemoveUnusedNodesPass()(model)
    ir.save(model, file)
    return sum(node.op_type == "Attention" and node.domain == "com.microsoft" for node in model.graph)
