import numpy as np
import pytest

from vecserve_server.engine.call import Call, WorkItem
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.scheduler import Batch
from vecserve_server.engine.statistics import Duration, ModelStatistics, Statistics
from vecserve_server.engine.timings import Timings


@pytest.fixture
def statistics() -> Statistics:
    """The time is always 1000."""
    return Statistics(lambda: 1000.0)


def batch(count: int, model: str = "bert") -> Batch:
    call = Call([b""] * count, lambda error: None)
    return Batch(model, Priority.INTERACTIVE, [WorkItem(call, index, np.zeros(3), 3) for index in range(count)], 1.0)


def test_a_model_that_did_nothing_has_nothing(statistics: Statistics) -> None:
    assert statistics.of("bert") == ModelStatistics()


def test_stages_of_answered_calls_add_up(statistics: Statistics) -> None:
    statistics.answered("bert", Timings(preprocess=1.0, queue=2.0, infer=3.0, output=0.5))
    statistics.answered("bert", Timings(preprocess=0.25, queue=0.0, infer=1.0, output=0.5))

    known = statistics.of("bert")
    assert (known.preprocess, known.queue) == (Duration(2, 1.25), Duration(2, 2.0))
    assert (known.infer, known.output) == (Duration(2, 4.0), Duration(2, 1.0))
    assert known.answered == Duration(2, 8.25)
    assert known.last_call == 1000.0


def test_unanswered_calls_count_in_no_stage(statistics: Statistics) -> None:
    statistics.unanswered("bert", 1.5)

    assert statistics.of("bert") == ModelStatistics(last_call=1000.0, unanswered=Duration(1, 1.5))


def test_batches_are_counted_by_their_size(statistics: Statistics) -> None:
    for count, seconds in ((1, 0.5), (3, 1.0), (3, 2.0)):
        statistics.ran(batch(count), seconds, 0, failed=False)

    known = statistics.of("bert")
    assert known.batches == {1: Duration(1, 0.5), 3: Duration(2, 3.0)}
    assert known.items == 7


def test_batches_that_failed_computed_nothing(statistics: Statistics) -> None:
    statistics.ran(batch(3), 1.0, 0, failed=True)

    assert statistics.of("bert") == ModelStatistics()


def test_models_are_told_apart(statistics: Statistics) -> None:
    statistics.ran(batch(2, "bert"), 1.0, 0, failed=False)
    statistics.unanswered("resnet", 1.0)

    assert (statistics.of("bert").items, statistics.of("resnet").items) == (2, 0)
    assert (statistics.of("bert").unanswered.count, statistics.of("resnet").unanswered.count) == (0, 1)


def test_what_was_told_no_longer_changes(statistics: Statistics) -> None:
    statistics.ran(batch(1), 1.0, 0, failed=False)
    known = statistics.of("bert")

    statistics.ran(batch(1), 1.0, 0, failed=False)

    assert (known.items, known.batches) == (1, {1: Duration(1, 1.0)})
