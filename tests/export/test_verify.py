import numpy as np
import pytest
from numpy.typing import NDArray

from vecserve_export.errors import FidelityError
from vecserve_export.verify import UNMEASURED, measure

Rows = NDArray[np.float32]

ROWS: Rows = np.random.default_rng(0).normal(size=(5, 16)).astype(np.float32)


def test_equal_vectors_have_no_error() -> None:
    fidelity = measure(ROWS, ROWS, UNMEASURED)
    assert (fidelity.samples, fidelity.max_absolute_error) == (5, 0.0)
    assert fidelity.min_cosine == pytest.approx(1.0)


def test_the_worst_component_of_the_worst_row_counts() -> None:
    served = (ROWS * np.float32(0.25)).copy()
    served[3, 2] += 5e-5
    assert measure(ROWS * np.float32(0.25), served, UNMEASURED).max_absolute_error == pytest.approx(5e-5, rel=0.01)


def test_large_values_may_err_in_proportion() -> None:
    expected = (200 * ROWS / np.abs(ROWS).max(axis=1, keepdims=True)).astype(np.float32)
    assert measure(expected, expected + np.float32(0.01), UNMEASURED).max_absolute_error == pytest.approx(
        5e-5, rel=0.01
    )


@pytest.mark.parametrize(
    "served",
    [ROWS * np.float32(1.001), ROWS + np.float32(0.01), np.full_like(ROWS, np.nan), np.zeros_like(ROWS), ROWS[:, :8]],
    ids=["scaled", "shifted", "nan", "zero", "narrow"],
)
def test_other_vectors_are_refused(served: Rows) -> None:
    with pytest.raises(FidelityError):
        measure(ROWS, served, UNMEASURED)
