import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecserve_server.engine.batching import BatchPolicy
from vecserve_server.engine.cost import CostModel

counts = st.integers(1, 100_000)
fixed_costs = st.just(0.0) | st.just(math.inf) | st.floats(0.01, 1e6)
policies = st.builds(BatchPolicy, largest=counts, fixed=fixed_costs)


@pytest.mark.parametrize(
    ("cost", "fixed"),
    [
        (CostModel(fixed=0.5, per_unit=0.25), 2.0),
        (CostModel(fixed=0.05, per_unit=0.25), 0.2),
        (CostModel(fixed=0.02, per_unit=0.25), 0.16),
        (CostModel(fixed=0.0, per_unit=0.25), 0.16),
        (CostModel(fixed=0.5, per_unit=0.0), math.inf),
        (CostModel(fixed=0.0, per_unit=0.0), math.inf),
    ],
)
def test_the_fixed_cost_of_a_run_is_told_in_units(cost: CostModel, fixed: float) -> None:
    assert BatchPolicy.of(cost, 100) == BatchPolicy(100, fixed)


@pytest.mark.parametrize(("fixed", "full"), [(8.0, 200), (0.8, 20), (50.0, 1000), (math.inf, 1000), (0.0, 1)])
def test_a_batch_is_full_once_its_fixed_cost_hardly_counts(fixed: float, full: int) -> None:
    assert BatchPolicy(1000, fixed).full == full


@pytest.mark.parametrize(
    ("waiting", "budget"), [(1, 1), (99, 99), (100, 100), (140, 140), (160, 80), (200, 100), (260, 87), (1000, 100)]
)
def test_one_instance_cuts_the_queue_into_equal_parts_of_about_full_size(waiting: int, budget: int) -> None:
    assert BatchPolicy(1000, fixed=4.0).budget(waiting, idle=1) == budget


@pytest.mark.parametrize(("idle", "budget"), [(1, 90), (2, 45), (3, 30), (9, 10), (20, 5), (40, 4)])
def test_idle_instances_share_the_queue_while_a_share_is_worth_a_run(idle: int, budget: int) -> None:
    assert BatchPolicy(1000, fixed=2.5).budget(90, idle) == budget


def test_work_that_is_not_worth_two_runs_is_not_shared() -> None:
    assert BatchPolicy(1000, fixed=2.5).budget(7, idle=4) == 7
    assert BatchPolicy(1000, fixed=2.5).budget(8, idle=4) == 4


def test_without_a_fixed_cost_every_idle_instance_gets_a_share() -> None:
    assert BatchPolicy(1000, fixed=0.0).budget(8, idle=8) == 1


def test_where_only_the_fixed_cost_counts_batches_are_as_large_as_allowed() -> None:
    assert BatchPolicy(1000, fixed=math.inf).budget(900, idle=4) == 900
    assert BatchPolicy(1000, fixed=math.inf).budget(1800, idle=4) == 900
    assert BatchPolicy(1000, fixed=math.inf).budget(5000, idle=4) == 1000


@pytest.mark.parametrize(
    ("waiting", "running", "budget"),
    [(90, 0, 90), (90, 10, 30), (90, 60, 45), (90, 90, 90), (90, 300, 90), (34, 1, 34), (35, 1, 18)],
)
def test_while_others_run_some_work_is_left_for_when_they_end(waiting: int, running: int, budget: int) -> None:
    """Of 90 units beside 60, each of two instances is to have about two rounds of 42; no batch is below 17.5."""
    assert BatchPolicy(1000, fixed=2.5).budget(waiting, idle=1, running=running, busy=1 if running else 0) == budget


def test_where_a_run_costs_much_nothing_is_left_while_others_run() -> None:
    assert BatchPolicy(1000, fixed=100.0).budget(900, idle=1, running=900, busy=1) == 900
    assert BatchPolicy(1000, fixed=math.inf).budget(900, idle=1, running=900, busy=1) == 900


@given(policy=policies, waiting=counts, idle=st.integers(1, 64), running=counts | st.just(0), busy=st.integers(0, 64))
def test_a_budget_holds_something_and_no_more_than_is_allowed(
    policy: BatchPolicy, waiting: int, idle: int, running: int, busy: int
) -> None:
    assert 1 <= policy.budget(waiting, idle, running, busy) <= min(policy.largest, waiting)


@pytest.mark.parametrize(("count", "longest", "allowed"), [(10, 10, True), (1, 100, True), (11, 10, False)])
def test_a_batch_is_no_larger_after_padding_than_is_allowed(count: int, longest: int, allowed: bool) -> None:
    assert BatchPolicy(100, fixed=math.inf).allow(count, longest, total=count) is allowed


@pytest.mark.parametrize(("fixed", "padding", "allowed"), [(8.0, 6, True), (8.0, 7, False), (0.0, 0, True)])
def test_padding_is_allowed_while_it_costs_clearly_less_than_one_more_run(
    fixed: float, padding: int, allowed: bool
) -> None:
    assert BatchPolicy(1000, fixed).allow(2, 10, total=20 - padding) is allowed


@pytest.mark.parametrize(("padding", "allowed"), [(5, True), (6, False)])
def test_a_small_part_of_padding_is_allowed_in_any_batch(padding: int, allowed: bool) -> None:
    assert BatchPolicy(1000, fixed=0.0).allow(10, 10, total=100 - padding) is allowed
