from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from vecserve_export.errors import FidelityError
from vecserve_export.fidelity import (
    BOUNDS,
    SAMPLE_COSINES,
    Precision,
    absolute_error,
    check_samples,
    measure,
    overlap,
    rank_correlation,
    similarities,
)
from vecserve_server.models.fidelity import Agreement, Error, Fidelity

Rows = NDArray[np.float32]

ROWS: Rows = np.random.default_rng(0).normal(size=(40, 16)).astype(np.float32)


def rows(*vectors: list[float]) -> Rows:
    return np.array(vectors, dtype=np.float32)


def numbers(*values: float) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64)


def measured(expected: Rows, batched: Rows, alone: Rows | None = None, precision: Precision = "fp32") -> Fidelity:
    return measure("probes", expected, batched, batched if alone is None else alone, precision)


@pytest.fixture
def unbounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets any figures pass."""
    monkeypatch.setitem(BOUNDS, "fp32", {})


def test_equal_vectors_have_no_error() -> None:
    fidelity = measured(ROWS, ROWS)
    assert (fidelity.probe_set, fidelity.samples, fidelity.bounds) == ("probes", 40, BOUNDS["fp32"])
    assert [getattr(fidelity, figure) for figure in get_args(Error)] == [0, 0, 0, 0]
    assert [getattr(fidelity, figure) for figure in get_args(Agreement)] == pytest.approx([1] * 7, abs=1e-12)


@pytest.mark.usefixtures("unbounded")
def test_figures_are_those_computed_by_hand() -> None:
    # Four unit vectors in the plane at 0, 90, 180 and 270 degrees; served, the second stands at 53.13 degrees.
    expected = rows([1, 0], [0, 1], [-1, 0], [0, -1])
    served = rows([1, 0], [0.6, 0.8], [-1, 0], [0, -1])

    fidelity = measured(expected, served, alone=expected)

    assert fidelity.samples == 4
    assert fidelity.max_absolute_error == pytest.approx(0.6)
    assert fidelity.min_cosine == pytest.approx(0.8)
    assert fidelity.p1_cosine == pytest.approx(0.8 + 0.03 * 0.2)  # 3 % of the way from the least to the next
    assert fidelity.mean_cosine == pytest.approx(0.95)
    # Of six pairs, the second vector's are 0, 0, -1 and become 0.6, -0.6, -0.8.
    assert fidelity.max_similarity_error == pytest.approx(0.6)
    assert fidelity.mean_similarity_error == pytest.approx((0.6 + 0.6 + 0.2) / 6)
    # The first ranks (second, third, fourth) 2.5, 1, 2.5 and served 3, 1, 2; the others likewise.
    assert fidelity.min_rank_correlation == pytest.approx(0.75**0.5)
    assert fidelity.mean_top10_overlap == 1.0  # there are only three others
    assert fidelity.max_batch_difference == pytest.approx(0.6)
    assert fidelity.min_batch_cosine == pytest.approx(0.8)


def test_the_length_of_vectors_counts_in_errors_alone() -> None:
    batched = ROWS * np.float32(1.00001)
    fidelity = measured(ROWS, batched)
    assert 0 < fidelity.max_absolute_error < 2e-5
    assert (fidelity.min_cosine, fidelity.max_similarity_error) == pytest.approx((1, 0), abs=1e-7)


@pytest.mark.usefixtures("unbounded")
def test_company_that_moves_a_vector_shows_though_both_are_near_the_reference() -> None:
    moved = ROWS.copy()
    moved[7, 3] += 0.05
    fidelity = measured(ROWS, ROWS, alone=moved)
    assert (fidelity.max_absolute_error, fidelity.min_cosine) == pytest.approx((0, 1), abs=1e-12)
    assert fidelity.max_batch_difference == pytest.approx(0.05 / np.linalg.norm(ROWS[7]), rel=0.1)
    assert fidelity.min_batch_cosine < 0.9999


def test_the_worst_component_of_the_worst_row_counts() -> None:
    served = (ROWS * np.float32(0.25)).copy()
    served[3, 2] += 5e-5
    assert absolute_error(ROWS * np.float32(0.25), served) == pytest.approx(5e-5, rel=0.01)


def test_large_values_may_err_in_proportion() -> None:
    expected = (200 * ROWS / np.abs(ROWS).max(axis=1, keepdims=True)).astype(np.float32)
    assert absolute_error(expected, expected + np.float32(0.01)) == pytest.approx(5e-5, rel=0.01)


@pytest.mark.parametrize(
    ("left", "right", "correlation"),
    [
        ([1, 2, 3, 4], [10, 20, 30, 90], 1.0),
        ([1, 2, 3, 4], [9, 3, 2, 1], -1.0),
        ([1, 2, 3, 4, 5], [2, 1, 4, 3, 5], 0.8),  # 1 - 6 * 4 / (5 * 24)
        ([1, 2, 2, 3], [1, 2, 3, 4], 0.9**0.5),  # ranks 1, 2.5, 2.5, 4
        ([5, 5, 5], [7, 7, 7], 1.0),
        ([5, 5, 5], [1, 2, 3], 0.0),
        ([1, 2, 3], [5, 5, 5], 0.0),
    ],
    ids=["same", "reversed", "two swaps", "a tie", "both all ties", "left all ties", "right all ties"],
)
def test_rank_correlation_is_spearmans(left: list[float], right: list[float], correlation: float) -> None:
    assert rank_correlation(numbers(*left), numbers(*right)) == pytest.approx(correlation)


def test_rank_correlation_with_ties_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is no dependency of ours")
    rng = np.random.default_rng(1)
    for _ in range(20):
        left, right = rng.integers(0, 9, (2, 30)).astype(np.float64)
        assert rank_correlation(left, right) == pytest.approx(stats.spearmanr(left, right).statistic)


def test_overlap_is_the_share_of_the_nearest_that_stay() -> None:
    left, right = numbers(9, 8, 7, 1, 2), numbers(9, 1, 7, 8, 2)
    assert overlap(left, right, 2) == 0.5
    assert overlap(left, right, 3) == pytest.approx(2 / 3)
    assert overlap(left, left, 5) == 1.0


def test_ties_for_the_last_place_do_not_count_as_change() -> None:
    assert overlap(numbers(9, 5, 5, 5), numbers(8, 4, 4, 4), 2) == 1.0


def test_identical_vectors_tie_and_agree() -> None:
    same = np.repeat(ROWS[:1], 12, axis=0)
    assert (similarities(same) == 1).all()
    fidelity = measured(same, same)
    assert (fidelity.min_rank_correlation, fidelity.mean_top10_overlap) == (1, 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
@pytest.mark.parametrize("which", ["expected", "batched", "alone"])
def test_vectors_that_are_zero_or_not_finite_are_refused_with_their_probe(bad: float, which: str) -> None:
    vectors = {name: ROWS.copy() for name in ("expected", "batched", "alone")}
    vectors[which][5] = bad
    expected, batched, alone = vectors.values()
    maker = "PyTorch" if which == "expected" else "the graph"
    with pytest.raises(FidelityError, match=f"{maker} made a vector of probe 5 that is zero or not finite"):
        measured(expected, batched, alone)


def test_one_nan_among_good_components_is_refused() -> None:
    served = ROWS.copy()
    served[5, 3] = np.nan
    with pytest.raises(FidelityError, match="probe 5"):
        measured(ROWS, served)


def test_vectors_of_another_shape_are_refused_with_both() -> None:
    with pytest.raises(FidelityError, match=r"vectors of shape \(40, 8\), and PyTorch \(40, 16\)"):
        measured(ROWS, ROWS[:, :8])


def test_two_probes_can_not_be_ranked() -> None:
    with pytest.raises(FidelityError, match="2 probes can't be ranked: at least 3 are needed"):
        measured(ROWS[:2], ROWS[:2])


def test_every_missed_bound_is_named_with_value_and_limit() -> None:
    served = ROWS + np.random.default_rng(1).normal(0, 0.5, ROWS.shape).astype(np.float32)
    with pytest.raises(FidelityError) as refusal:
        measured(ROWS, served, alone=ROWS, precision="int8")
    message = str(refusal.value)
    assert message.startswith("the exported graph misses what int8 has to keep on 40 probes: min_cosine is 0.")
    assert all(f"{figure} is " in message for figure in BOUNDS["int8"])
    assert ", and at least 0.997 is asked for; " in message
    assert ", and at most 1e-06 is allowed. Nothing was written" in message


def test_a_figure_at_its_bound_is_kept() -> None:
    fidelity = measured(ROWS, ROWS)
    at_bounds = {"min_cosine": 0.99999, "max_batch_difference": 1e-5}
    assert fidelity.model_copy(update=at_bounds).missed == []
    past = {"min_cosine": 0.999989, "max_batch_difference": 1.01e-5}
    assert len(fidelity.model_copy(update=past).missed) == 2


def test_every_figure_is_either_an_error_or_an_agreement() -> None:
    assert set(Fidelity.model_fields) == {*get_args(Error), *get_args(Agreement), "probe_set", "samples", "bounds"}


@pytest.mark.parametrize("precision", get_args(Precision))
def test_each_precision_bounds_cosine_and_what_company_may_do(precision: Precision) -> None:
    assert {"min_cosine", "max_batch_difference"} <= set(BOUNDS[precision])
    assert SAMPLE_COSINES[precision] <= BOUNDS[precision]["min_cosine"]


@pytest.mark.parametrize(
    "served",
    [ROWS * np.float32(1.001), ROWS + np.float32(0.01), np.full_like(ROWS, np.nan), np.zeros_like(ROWS), ROWS[:, :8]],
    ids=["scaled", "shifted", "nan", "zero", "narrow"],
)
def test_other_vectors_of_odd_samples_are_refused(served: Rows) -> None:
    with pytest.raises(FidelityError):
        check_samples(ROWS, served, "fp32")


def test_odd_samples_may_differ_more_at_lower_precision() -> None:
    served = ROWS + np.random.default_rng(1).normal(0, 0.05, ROWS.shape).astype(np.float32)
    check_samples(ROWS, served, "int8")
    with pytest.raises(FidelityError, match=r"40 odd samples: .*smallest cosine 0\.99\d+ \(at least 0\.99999\)"):
        check_samples(ROWS, served, "fp32")
