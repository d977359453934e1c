from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vecserve.v1 import embedding_service_pb2 as pb
from vecserve_server.api.vectors import VectorEncoding
from vecserve_server.engine.engine import Embeddings
from vecserve_server.engine.errors import InvalidInputError
from vecserve_server.engine.norms import euclidean_norms, normalize
from vecserve_server.engine.timings import Timings
from vecserve_server.models.manifest import Manifest

VECTORS = np.array([[3, 4, 12], [0, 0, 0], [-1, 0.5, 2]], np.float32)


@pytest.fixture
def encode(manifest_of: Callable[..., Manifest]) -> Callable[..., NDArray[Any]]:
    """Encodes vectors of three dimensions, as the engine gives them, with the options of a request; reads them back."""

    def encode(vectors: NDArray[np.float32], **options: Any) -> NDArray[Any]:
        manifest = manifest_of(supported_dimensionalities=(2, 3))
        encoding = VectorEncoding.of(pb.VectorOptions(**options), manifest)
        dtype = "<f2" if encoding.element_type == pb.ELEMENT_TYPE_FLOAT16 else "<f4"
        if encoding.takes_normalized:
            vectors = normalize(vectors, euclidean_norms(vectors))
        rows = [vector.tobytes() for vector in vectors.astype("<f4")]
        encoded = encoding.encode(Embeddings(rows, [], Timings(0, 0, 0, 0)))
        return np.array([np.frombuffer(packed, dtype) for packed in encoded])

    return encode


@pytest.mark.parametrize(("normalization", "default"), [("none", pb.NORMALIZATION_NONE), ("l2", pb.NORMALIZATION_L2)])
def test_what_is_left_open_is_the_models_default_and_said(
    manifest_of: Callable[..., Manifest], normalization: str, default: pb.Normalization.ValueType
) -> None:
    encoding = VectorEncoding.of(pb.VectorOptions(), manifest_of(normalization=normalization))

    assert encoding.format == pb.VectorFormat(
        dimensionality=3, element_type=pb.ELEMENT_TYPE_FLOAT32, normalization=default
    )


def test_what_is_asked_for_wins_and_is_said(manifest_of: Callable[..., Manifest]) -> None:
    options = pb.VectorOptions(
        dimensionality=2, element_type=pb.ELEMENT_TYPE_FLOAT16, normalization=pb.NORMALIZATION_NONE
    )

    encoding = VectorEncoding.of(options, manifest_of(normalization="l2"))

    assert encoding.format == pb.VectorFormat(
        dimensionality=2, element_type=pb.ELEMENT_TYPE_FLOAT16, normalization=pb.NORMALIZATION_NONE
    )


def test_float32_is_packed_bit_for_bit(encode: Callable[..., NDArray[Any]]) -> None:
    np.testing.assert_array_equal(encode(VECTORS), VECTORS, strict=True)


def test_float16_is_rounded_to_nearest(encode: Callable[..., NDArray[Any]]) -> None:
    vectors = np.array([[0.1, 65504, -1e-8]], np.float32)

    packed = encode(vectors, element_type=pb.ELEMENT_TYPE_FLOAT16)

    np.testing.assert_array_equal(packed, vectors.astype(np.float16), strict=True)


@pytest.mark.parametrize("element", [65520.0, -1e30])
def test_an_element_too_large_for_float16_is_refused(encode: Callable[..., NDArray[Any]], element: float) -> None:
    vectors = np.array([[0, 0, element]], np.float32)

    with pytest.raises(InvalidInputError, match="ELEMENT_TYPE_FLOAT16 holds at most 65504") as refusal:
        encode(vectors, element_type=pb.ELEMENT_TYPE_FLOAT16)

    assert [violation.field for violation in refusal.value.violations] == ["vector.element_type"]
    assert encode(vectors, element_type=pb.ELEMENT_TYPE_FLOAT16, normalization=pb.NORMALIZATION_L2).shape == (1, 3)
    assert encode(vectors, element_type=pb.ELEMENT_TYPE_FLOAT16, dimensionality=2).tolist() == [[0, 0]]


def test_vectors_are_cut_first_and_normalized_then(encode: Callable[..., NDArray[Any]]) -> None:
    packed = encode(VECTORS, dimensionality=2, normalization=pb.NORMALIZATION_L2)

    np.testing.assert_allclose(packed[0], [0.6, 0.8], rtol=1e-6)


@pytest.mark.parametrize(
    ("dimensionality", "normalization", "by_the_engine"),
    [(3, pb.NORMALIZATION_L2, True), (2, pb.NORMALIZATION_L2, False), (3, pb.NORMALIZATION_NONE, False)],
)
def test_the_engine_normalizes_what_is_not_cut(
    manifest_of: Callable[..., Manifest],
    dimensionality: int,
    normalization: pb.Normalization.ValueType,
    by_the_engine: bool,
) -> None:
    options = pb.VectorOptions(dimensionality=dimensionality, normalization=normalization)

    assert VectorEncoding.of(options, manifest_of()).takes_normalized is by_the_engine


def test_the_vector_of_zeros_stays_as_it_is(encode: Callable[..., NDArray[Any]]) -> None:
    assert encode(VECTORS, normalization=pb.NORMALIZATION_L2)[1].tolist() == [0, 0, 0]
