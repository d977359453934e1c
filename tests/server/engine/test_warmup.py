import itertools
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from controlled import PATIENCE, GatedModel
from numpy.typing import NDArray
from simulated import SimulatedLoop, SimulatedModel

from vecserve_server.engine.cost import CostModel
from vecserve_server.engine.warmup import grow, measure
from vecserve_server.models.manifest import ArtifactError
from vecserve_server.models.model import TextModel


class Measured(SimulatedModel):
    """A model of known cost, and how many items its batches had."""

    def __init__(self, loop: SimulatedLoop, manifest_of: TextModel, cost: CostModel) -> None:
        super().__init__("bert", manifest_of.manifest, loop, cost)
        self.batches: list[int] = []

    def run(self, payloads: Sequence[NDArray[Any]], *, alone: bool = False) -> NDArray[np.float32]:
        self.batches.append(len(payloads))
        return super().run(payloads, alone=alone)


@pytest.fixture
def loop() -> Iterator[SimulatedLoop]:
    """Whose clock the runs of models advance."""
    loop = SimulatedLoop()
    yield loop
    loop.close()


@pytest.fixture
def quick(loop: SimulatedLoop, text_model: TextModel) -> Measured:
    return Measured(loop, text_model, CostModel(fixed=0.01, per_unit=0.0001))


def test_the_cost_of_a_model_is_found(quick: Measured, loop: SimulatedLoop) -> None:
    cost = measure(quick, 1024, loop.time)

    assert (cost.fixed, cost.per_unit) == (pytest.approx(0.01), pytest.approx(0.0001))
    assert cost.correction == 1.0


def test_batches_are_measured_up_to_the_largest(quick: Measured, loop: SimulatedLoop) -> None:
    measure(quick, 100, loop.time)

    assert sorted(set(quick.batches)) == [1, 2, 4]


def test_one_item_is_measured_though_it_exceeds_the_largest_batch(quick: Measured, loop: SimulatedLoop) -> None:
    cost = measure(quick, 8, loop.time)

    assert set(quick.batches) == {1}
    assert cost.batch_seconds(16) == pytest.approx(0.0116)


def test_batches_larger_than_a_slow_one_are_not_tried(loop: SimulatedLoop, text_model: TextModel) -> None:
    slow = Measured(loop, text_model, CostModel(fixed=0.0, per_unit=0.01))

    measure(slow, 1024, loop.time)

    assert sorted(set(slow.batches)) == [1, 2]


def test_the_first_run_of_a_batch_does_not_count(quick: Measured, loop: SimulatedLoop) -> None:
    slow_at_first: set[int] = set()

    def runs() -> Iterator[tuple[float, bool]]:
        while True:
            count = quick.batches[-1]
            yield (1.0 if count in slow_at_first else 100.0), False
            slow_at_first.add(count)

    quick.runs = runs()

    cost = measure(quick, 1024, loop.time)

    assert (cost.fixed, cost.per_unit) == (pytest.approx(0.01), pytest.approx(0.0001))
    assert max(quick.batches) == 64


def measured_turns(model: Measured, turns: Sequence[Sequence[float]]) -> None:
    """Has runs of batches of 1 and 4 items, three and one a turn, take so many times as long as they should."""
    first_runs = [1.0] * 6  # two of 1, 2 and 4 items each
    slowness = itertools.chain(first_runs, *turns)
    model.runs = ((factor, False) for factor in slowness)


def test_a_machine_that_is_held_up_for_a_moment_does_not_change_the_cost(quick: Measured, loop: SimulatedLoop) -> None:
    measured_turns(quick, [(1, 1, 1, 1), (9, 2, 3, 1), (1, 1, 1, 5)])

    cost = measure(quick, 100, loop.time)

    assert (cost.fixed, cost.per_unit) == (pytest.approx(0.01), pytest.approx(0.0001))


def test_a_machine_that_slows_down_does_not_change_what_is_fixed_of_a_run(quick: Measured, loop: SimulatedLoop) -> None:
    measured_turns(quick, [(1, 1, 1, 1), (2, 2, 2, 2), (4, 4, 4, 4)])

    cost = measure(quick, 100, loop.time)

    assert cost.fixed / cost.per_unit == pytest.approx(100)


def test_of_single_items_the_quickest_run_of_each_turn_counts(quick: Measured, loop: SimulatedLoop) -> None:
    measured_turns(quick, [(3, 2, 1, 1), (2, 1, 3, 1), (1, 2, 2, 1)])

    cost = measure(quick, 100, loop.time)

    assert (cost.fixed, cost.per_unit) == (pytest.approx(0.01), pytest.approx(0.0001))


def test_memory_is_grown_by_the_largest_batches_of_long_and_of_short_items_at_once(text_artifact: Path) -> None:
    together = threading.Barrier(4)
    shapes: set[tuple[int, int]] = set()

    class Counting(GatedModel):
        def run(self, payloads: Sequence[NDArray[Any]], *, alone: bool = False) -> NDArray[np.float32]:
            shapes.add((len(payloads), len(payloads[0])))
            together.wait(PATIENCE)
            return TextModel.run(self, payloads, alone=alone)

    grow(Counting(text_artifact), 128, at_once=4)

    assert shapes == {(2, 64), (8, 16)}


def test_memory_is_grown_by_the_largest_item_alone_where_the_model_has_more_threads_for_it(
    text_artifact: Path,
) -> None:
    runs_alone: list[tuple[int, int]] = []

    class Counting(GatedModel):
        def run(self, payloads: Sequence[NDArray[Any]], *, alone: bool = False) -> NDArray[np.float32]:
            if alone:
                runs_alone.append((len(payloads), len(payloads[0])))
            return TextModel.run(self, payloads, alone=alone)

    model = Counting(text_artifact)
    grow(model, 128, at_once=4)
    assert not runs_alone

    model.is_faster_alone = True
    grow(model, 128, at_once=4)
    assert set(runs_alone) == {(1, 64)}


def test_a_graph_that_fails_is_named(quick: Measured, loop: SimulatedLoop) -> None:
    quick.runs = itertools.cycle([(1.0, True)])

    with pytest.raises(ArtifactError, match="model bert: its first run failed: failed"):
        measure(quick, 1024, loop.time)
