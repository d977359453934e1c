from collections import Counter
from pathlib import Path
from typing import Any, cast

import onnx
import onnxruntime as ort
import pytest

from vecserve_server.models.providers.processor import int8_saturates
from vecserve_server.models.providers.provider import Cpu


def optimized(model: Path, file: Path, disabled: tuple[str, ...]) -> Counter[str]:
    """Operators of a graph as ONNX Runtime runs it."""
    options = cast(Any, ort.SessionOptions())
    options.optimized_model_filepath = str(file)
    options.log_severity_level = 3  # that the optimized file fits this machine only
    ort.InferenceSession(model, options, providers=["CPUExecutionProvider"], disabled_optimizers=list(disabled))
    return Counter(node.op_type for node in onnx.load(file).graph.node)


def test_fusions_that_are_slower_than_their_parts_are_left_out(example_models: Path, tmp_path: Path) -> None:
    model = example_models / "all-minilm-l6-v2" / "1" / "model.onnx"
    by_default = optimized(model, tmp_path / "default.onnx", ())
    ours = optimized(model, tmp_path / "ours.onnx", Cpu.slower_fusions)
    assert (by_default["SkipLayerNormalization"], by_default["BiasGelu"]) == (12, 6)
    assert (ours["LayerNormalization"], ours["Gelu"]) == (13, 6)


@pytest.mark.parametrize(
    ("flags", "saturates"),
    [
        ({"avx2", "avx512f"}, True),
        ({"avx2", "avx512_vnni"}, False),
        ({"avx2", "avx_vnni"}, False),
        ({"asimddp"}, False),
        (set[str](), False),
    ],
)
def test_int8_is_exact_where_the_cpu_adds_in_32_bits(flags: set[str], saturates: bool) -> None:
    assert int8_saturates(frozenset(flags)) == saturates
