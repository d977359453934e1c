"""How large each channel of a graph's inner tensors gets on texts of many kinds."""

from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any, cast

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray

from vecserve_export import quantization, samples
from vecserve_export.errors import UnsupportedModelError

Feeds = Mapping[str, NDArray[Any]]


def texts(max_token_count: int) -> list[str]:
    """Ordinary sentences, then samples of many lengths and scripts. None is among the probes of fidelity."""
    sentences = files(quantization).joinpath("calibration.txt").read_text(encoding="utf-8")
    return [*sentences.splitlines(), *samples.texts(max_token_count)]


def peaks(model: ir.Model, names: Sequence[str], inputs: Iterable[Feeds]) -> dict[str, NDArray[np.float32]]:
    """The largest magnitude in each channel of the tensors named, `(channels,)` each, over all inputs.

    Args:
        model: An fp32 graph. It is left as it is.
        names: Of tensors `(batch, sequence, channels)`.
        inputs: What to run, one batch without padding each.

    Raises:
        UnsupportedModelError: a tensor has values that are no numbers.
    """
    session = _session(model, names)
    found: dict[str, NDArray[np.float32]] = {}
    for feeds in inputs:
        for name, tensor in zip(names, cast("list[NDArray[np.float32]]", session.run(names, feeds)), strict=True):
            largest = np.abs(tensor).max(axis=tuple(range(tensor.ndim - 1)))
            if not np.isfinite(largest).all():
                raise UnsupportedModelError(f"the model's tensor '{name}' becomes NaN or infinite on ordinary text")
            found[name] = np.maximum(found[name], largest) if name in found else largest
    return found


def _session(model: ir.Model, names: Sequence[str]) -> Any:
    proto = ir.to_proto(model)
    proto.graph.output.extend(ir.to_proto(ir.Value(name=name)) for name in names)
    return cast("Any", ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"]))
