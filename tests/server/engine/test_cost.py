import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecserve_server.engine.cost import CostModel

sizes = st.integers(1, 100_000)
seconds = st.floats(1e-6, 100)


@given(small=st.tuples(sizes, seconds), large=st.tuples(sizes, seconds), size=sizes)
def test_no_measurement_predicts_less_than_nothing(
    small: tuple[int, float], large: tuple[int, float], size: int
) -> None:
    cost = CostModel.through(small, large)

    assert cost.batch_seconds(size) >= 0
    assert cost.batch_seconds(size) <= cost.batch_seconds(size + 1)


def test_the_line_goes_through_both_measurements() -> None:
    cost = CostModel.through((16, 0.003), (1024, 0.103))

    assert cost.batch_seconds(16) == pytest.approx(0.003)
    assert cost.batch_seconds(1024) == pytest.approx(0.103)
    assert cost.batch_seconds(520) == pytest.approx(0.053)


def test_two_measurements_of_one_size_cost_in_proportion() -> None:
    assert CostModel.through((4, 0.2), (4, 0.4)).batch_seconds(2) == pytest.approx(0.2)


def test_a_larger_batch_that_was_faster_gives_a_flat_line() -> None:
    cost = CostModel.through((1, 0.5), (10, 0.4))

    assert cost.batch_seconds(1) == cost.batch_seconds(10) == 0.5


def test_a_fixed_part_is_never_negative() -> None:
    cost = CostModel.through((10, 0.1), (20, 0.5))

    assert cost.fixed == 0.0
    assert cost.batch_seconds(20) == pytest.approx(0.8)


def test_the_correction_follows_a_machine_that_became_slower() -> None:
    cost = CostModel(fixed=0.01, per_unit=0.001)
    before = cost.batch_seconds(100)

    cost.observe(50, 3 * cost.batch_seconds(50))
    after_one = cost.batch_seconds(100)
    for _ in range(100):
        cost.observe(50, 3 * 0.06)

    assert before < after_one < 1.5 * before
    assert cost.batch_seconds(100) == pytest.approx(3 * before, rel=0.01)


def test_an_observation_as_predicted_changes_nothing() -> None:
    cost = CostModel(fixed=0.01, per_unit=0.001)

    cost.observe(40, 0.05)

    assert cost.correction == pytest.approx(1.0)


def test_a_clock_too_coarse_to_measure_predicts_nothing_and_learns_nothing() -> None:
    cost = CostModel.through((1, 0.0), (10, 0.0))

    cost.observe(10, 1.0)

    assert cost.batch_seconds(10) == 0.0
