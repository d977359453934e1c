import numpy as np
import pytest

from vecserve_server.engine.norms import euclidean_norms


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
