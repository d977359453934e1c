import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vecserve_server.engine.norms import euclidean_norms, normalize


def test_each_row_has_its_norm() -> None:
    vectors = np.array([[3, 4, 0], [0, 0, 0], [1, 2, 2]], np.float32)

    assert euclidean_norms(vectors).tolist() == [5, 0, 3]


@pytest.mark.parametrize("element", [3e38, 1e-45])
def test_neither_large_nor_small_elements_are_lost(element: float) -> None:
    (norm,) = euclidean_norms(np.array([[element, element]], np.float32))

    assert norm == pytest.approx(float(np.float32(element)) * 2**0.5, rel=1e-12)


@pytest.mark.parametrize("element", [np.nan, np.inf, -np.inf])
def test_the_norm_of_what_is_not_finite_is_not_finite_and_the_others_are(element: float) -> None:
    norms = euclidean_norms(np.array([[1, 0], [0, element], [0, 2]], np.float32))

    assert np.isfinite(norms).tolist() == [True, False, True]


def test_no_rows_have_no_norms() -> None:
    assert euclidean_norms(np.empty((0, 4), np.float32)).shape == (0,)


_elements = st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False)
_rows = st.lists(_elements, min_size=3, max_size=3)


@given(_rows.filter(any))
def test_a_vector_gets_unit_length_and_keeps_its_direction(row: list[float]) -> None:
    vector = np.array([row], np.float32)

    unit = normalize(vector, euclidean_norms(vector))

    assert unit.dtype == np.float32
    exact = vector.astype(np.float64)
    np.testing.assert_allclose(unit, exact / np.linalg.norm(exact), atol=1e-6)


@example([[1, 2, 2.5], [3e38, 1, 1], [1e-30, 0, 0]])
@given(st.lists(_rows | st.sampled_from([[0.0, 0, 0], [math.nan, 1, 2], [math.inf, 1, 2]]), min_size=1, max_size=5))
def test_what_else_is_in_the_batch_makes_no_difference(rows: list[list[float]]) -> None:
    vectors = np.array(rows, np.float32)

    together = normalize(vectors, euclidean_norms(vectors))

    alone = [normalize(row, euclidean_norms(row)) for row in np.split(vectors, len(vectors))]
    np.testing.assert_array_equal(together, np.concatenate(alone), strict=True)


@pytest.mark.parametrize("row", [[0, 0], [math.inf, 1], [math.nan, 1]])
def test_what_has_no_direction_stays_as_it_is(row: list[float]) -> None:
    vectors = np.array([row, [3, 4]], np.float32)

    units = normalize(vectors, euclidean_norms(vectors))

    np.testing.assert_array_equal(units, np.array([row, [0.6, 0.8]], np.float32))
