import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecserve.oip import grpc_inference_service_pb2 as pb
from vecserve_server.api.oip.tensors import Elements, TensorSpec, read_tensor
from vecserve_server.engine.errors import Violation

TEXT = TensorSpec("text", {"BYTES": ((1,), ())})
NUMBERS = TensorSpec("numbers", {"INT64": ((None,),), "INT32": ((None,),), "UINT8": ((2, 3),), "FP32": ((3, 2), ())})


def tensor(datatype: str, *shape: int, **contents: Any) -> pb.ModelInferRequest.InferInputTensor:
    given = pb.InferTensorContents(**contents) if contents else None
    return pb.ModelInferRequest.InferInputTensor(name="x", datatype=datatype, shape=shape, contents=given)


def read(
    spec: TensorSpec, tensor: pb.ModelInferRequest.InferInputTensor, raw: bytes | None = None
) -> tuple[Elements | None, list[Violation]]:
    violations: list[Violation] = []
    return read_tensor(tensor, raw, spec, 4, violations), violations


def packed(*elements: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


@pytest.mark.parametrize(
    ("datatype", "shape", "dtype"),
    [("INT64", (2, 3), "<i8"), ("INT32", (2, 3), "<i4"), ("UINT8", (2, 2, 3), "u1"), ("FP32", (2, 3, 2), "<f4")],
)
def test_raw_numbers_are_read_in_their_shape(datatype: str, shape: tuple[int, ...], dtype: str) -> None:
    expected = np.arange(np.prod(shape)).reshape(shape).astype(dtype)

    elements, violations = read(NUMBERS, tensor(datatype, *shape), expected.tobytes())

    assert isinstance(elements, np.ndarray)
    assert elements.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(elements, expected)
    assert not violations


@pytest.mark.parametrize(
    ("datatype", "shape", "field", "values", "dtype"),
    [
        ("INT64", (2, 2), "int64_contents", [1, -(2**62), 3, 4], np.int64),
        ("INT32", (2, 2), "int_contents", [1, -2, 3, 4], np.int32),
        ("UINT8", (1, 2, 3), "uint_contents", [0, 255, 1, 2, 3, 4], np.uint8),
        ("FP32", (2,), "fp32_contents", [0.5, -1.25], np.float32),
    ],
)
def test_typed_numbers_are_read_in_their_shape(
    datatype: str, shape: tuple[int, ...], field: str, values: list[float], dtype: type
) -> None:
    elements, violations = read(NUMBERS, tensor(datatype, *shape, **{field: values}))

    assert isinstance(elements, np.ndarray)
    assert elements.dtype == dtype
    assert elements.tolist() == np.array(values).reshape(shape).tolist()
    assert not violations


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_bytes_are_read_in_order(shape: tuple[int, ...]) -> None:
    expected = [b"a", b"", b"\xff\x00"]

    assert read(TEXT, tensor("BYTES", *shape, bytes_contents=expected)) == (expected, [])
    assert read(TEXT, tensor("BYTES", *shape), packed(*expected)) == (expected, [])


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=4))
def test_any_bytes_come_out_as_they_went_in(elements: list[bytes]) -> None:
    assert read(TEXT, tensor("BYTES", len(elements)), packed(*elements)) == (elements, [])


@given(raw=st.binary(max_size=40), count=st.integers(1, 4))
def test_raw_bytes_that_make_no_elements_are_refused_and_nothing_else_happens(raw: bytes, count: int) -> None:
    elements, violations = read(TEXT, tensor("BYTES", count), raw)

    if elements is None:
        assert violations == [
            Violation(
                "inputs.text",
                f"is broken in raw_input_contents: {len(raw)} bytes do not make {count} elements, "
                "each with its length before it in four bytes, little-endian",
            )
        ]
    else:
        assert isinstance(elements, list)
        assert packed(*elements) == raw


@pytest.mark.parametrize(
    "raw",
    [
        packed(b"one", b"two")[:-1],
        packed(b"one", b"two") + b"\0",
        packed(b"one", b"two", b"three"),
        packed(b"one"),
        packed(b"one") + b"\xff\xff\xff\xff",
    ],
    ids=["cut", "longer", "one too many", "one too few", "a length beyond the end"],
)
def test_broken_raw_bytes_are_refused(raw: bytes) -> None:
    elements, violations = read(TEXT, tensor("BYTES", 2), raw)

    assert elements is None
    assert [violation.field for violation in violations] == ["inputs.text"]


@pytest.mark.parametrize(
    ("spec", "given", "field", "description"),
    [
        (TEXT, tensor("INT64", 1), "inputs.text.datatype", "is 'INT64', and allowed are: BYTES"),
        (NUMBERS, tensor("", 1), "inputs.numbers.datatype", "is '', and allowed are: INT64, INT32, UINT8, FP32"),
        (TEXT, tensor("BYTES"), "inputs.text.shape", "is [], and for BYTES [n, 1] or [n] is needed"),
        (TEXT, tensor("BYTES", 2, 2), "inputs.text.shape", "is [2, 2], and for BYTES [n, 1] or [n] is needed"),
        (TEXT, tensor("BYTES", -1, 1), "inputs.text.shape", "is [-1, 1], and for BYTES [n, 1] or [n] is needed"),
        (NUMBERS, tensor("INT64", 1), "inputs.numbers.shape", "is [1], and for INT64 [n, s] is needed"),
        (NUMBERS, tensor("INT64", 1, -5), "inputs.numbers.shape", "is [1, -5], and for INT64 [n, s] is needed"),
        (NUMBERS, tensor("UINT8", 1, 3, 2), "inputs.numbers.shape", "is [1, 3, 2], and for UINT8 [n, 2, 3] is needed"),
        (TEXT, tensor("BYTES", 0), "inputs.text", "is empty: 1 to 4 are needed"),
        (TEXT, tensor("BYTES", 5), "inputs.text", "has 5 items, and one call may carry at most 4: split it"),
        (
            TEXT,
            tensor("BYTES", 2, bytes_contents=[b"a"]),
            "inputs.text",
            "has 1 elements in contents.bytes_contents, and its shape makes 2",
        ),
        (
            TEXT,
            tensor("BYTES", 1, int64_contents=[1], bytes_contents=[b"a"]),
            "inputs.text",
            "has contents.int64_contents, and elements of BYTES belong into contents.bytes_contents",
        ),
        (
            NUMBERS,
            tensor("UINT8", 1, 2, 3, uint_contents=[0, 1, 2, 3, 4, 256]),
            "inputs.numbers",
            "has the element 256, and UINT8 holds at most 255",
        ),
    ],
)
def test_a_tensor_that_is_not_allowed_is_refused_by_its_name(
    spec: TensorSpec, given: pb.ModelInferRequest.InferInputTensor, field: str, description: str
) -> None:
    assert read(spec, given) == (None, [Violation(field, description)])


@pytest.mark.parametrize("size", [0, 23, 25])
def test_raw_numbers_of_another_size_are_refused(size: int) -> None:
    description = f"has {size} bytes in raw_input_contents, and its shape and datatype make 24"

    assert read(NUMBERS, tensor("INT64", 1, 3), bytes(size)) == (None, [Violation("inputs.numbers", description)])


def test_a_shape_that_promises_more_than_memory_holds_is_refused_by_the_bytes_that_came() -> None:
    elements, (violation,) = read(NUMBERS, tensor("INT64", 4, 2**62), b"")

    assert elements is None
    assert violation.description.endswith(f"its shape and datatype make {2**67}")


def test_parameters_of_inputs_are_refused() -> None:
    shared = tensor("BYTES", 1)
    shared.parameters["shared_memory_region"].string_param = "region"

    assert read(TEXT, shared, packed(b"a")) == (
        None,
        [Violation("inputs.text.parameters", "are not supported: send the elements in the request")],
    )


def test_specs_are_told_in_words() -> None:
    assert str(TEXT) == "text (BYTES [n, 1] or [n])"
    assert str(TensorSpec("x", {"INT64": ((None,),), "UINT8": ((2, 3),)})) == "x (INT64 [n, s], or UINT8 [n, 2, 3])"
