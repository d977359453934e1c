"""Tensors of requests, checked and read. Pure."""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecserve.oip import grpc_inference_service_pb2 as pb
from vecserve_server.api.requests import check_count
from vecserve_server.engine.errors import Violation

Elements = list[bytes] | NDArray[Any]
"""Of BYTES the elements in order, of numbers an array in its shape."""

ItemShape = tuple[int | None, ...]
"""Dimensions of one item of a batch; None for any length."""

_DTYPES = {"INT32": np.dtype("<i4"), "INT64": np.dtype("<i8"), "UINT8": np.dtype("u1"), "FP32": np.dtype("<f4")}

_CONTENTS = {
    "BYTES": "bytes_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "FP32": "fp32_contents",
}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor that a model takes."""

    name: str
    forms: Mapping[str, tuple[ItemShape, ...]]
    """What an item may look like, by datatype; what comes first is preferred."""

    def shapes(self, datatype: str) -> str:
        """The allowed shapes in words."""
        return " or ".join(f"[{', '.join(['n', *map(_dimension, item)])}]" for item in self.forms[datatype])

    def __str__(self) -> str:
        return f"{self.name} ({', or '.join(f'{datatype} {self.shapes(datatype)}' for datatype in self.forms)})"


def read_tensor(
    tensor: pb.ModelInferRequest.InferInputTensor,
    raw: bytes | None,
    spec: TensorSpec,
    max_items: int,
    violations: list[Violation],
) -> Elements | None:
    """The elements of a tensor: those of `raw`, or of its contents if there is none.

    Returns None, and adds to `violations`, if the tensor is not as `spec` says.
    """
    field, known = f"inputs.{spec.name}", len(violations)
    if tensor.parameters:
        violations.append(Violation(f"{field}.parameters", "are not supported: send the elements in the request"))
    if tensor.datatype not in spec.forms:
        violations.append(
            Violation(f"{field}.datatype", f"is '{tensor.datatype}', and allowed are: {', '.join(spec.forms)}")
        )
    elif not _fits(tensor.shape, spec.forms[tensor.datatype]):
        given, allowed = list(tensor.shape), spec.shapes(tensor.datatype)
        violations.append(Violation(f"{field}.shape", f"is {given}, and for {tensor.datatype} {allowed} is needed"))
    else:
        check_count(violations, field, tensor.shape[0], max_items)
    if len(violations) > known:
        return None
    try:
        return _typed(tensor) if raw is None else _raw(tensor, raw)
    except ValueError as error:
        violations.append(Violation(field, str(error)))
        return None


def _dimension(size: int | None) -> str:
    return "s" if size is None else str(size)


def _fits(shape: Any, forms: tuple[ItemShape, ...]) -> bool:
    return min(shape, default=-1) >= 0 and any(
        len(shape) == 1 + len(item)
        and all(needed in (None, given) for given, needed in zip(shape[1:], item, strict=True))
        for item in forms
    )


def _raw(tensor: pb.ModelInferRequest.InferInputTensor, raw: bytes) -> Elements:
    count = math.prod(tensor.shape)
    if tensor.datatype == "BYTES":
        return _split(raw, count)
    dtype = _DTYPES[tensor.datatype]
    if len(raw) != count * dtype.itemsize:
        raise ValueError(
            f"has {len(raw)} bytes in raw_input_contents, and its shape and datatype make {count * dtype.itemsize}"
        )
    return np.frombuffer(raw, dtype).reshape(tensor.shape)


def _split(raw: bytes, count: int) -> list[bytes]:
    """The elements of BYTES, each of which comes after its length."""
    elements: list[bytes] = []
    end = 0
    while end + 4 <= len(raw) and len(elements) < count:
        start = end + 4
        end = start + struct.unpack_from("<I", raw, end)[0]
        elements.append(raw[start:end])
    if len(elements) != count or end != len(raw):
        raise ValueError(
            f"is broken in raw_input_contents: {len(raw)} bytes do not make {count} elements, "
            "each with its length before it in four bytes, little-endian"
        )
    return elements


def _typed(tensor: pb.ModelInferRequest.InferInputTensor) -> Elements:
    name = _CONTENTS[tensor.datatype]
    if others := [field.name for field, _ in tensor.contents.ListFields() if field.name != name]:
        raise ValueError(f"has contents.{others[0]}, and elements of {tensor.datatype} belong into contents.{name}")
    elements, count = getattr(tensor.contents, name), math.prod(tensor.shape)
    if len(elements) != count:
        raise ValueError(f"has {len(elements)} elements in contents.{name}, and its shape makes {count}")
    if tensor.datatype == "BYTES":
        return list(elements)
    if tensor.datatype == "UINT8":
        return _bytes(np.array(elements, np.uint32)).reshape(tensor.shape)
    return np.array(elements, _DTYPES[tensor.datatype]).reshape(tensor.shape)


def _bytes(elements: NDArray[np.uint32]) -> NDArray[np.uint8]:
    if len(elements) and (largest := elements.max()) > 255:
        raise ValueError(f"has the element {largest}, and UINT8 holds at most 255")
    return elements.astype(np.uint8)
