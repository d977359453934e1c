import math
from collections.abc import Callable

import pytest
from numpy import zeros

from vecserve_server.engine.errors import EngineError, ExpiredError, NotReadyError
from vecserve_server.engine.preparation import Preparation
from vecserve_server.models.inputs import InvalidItemsError, PreparedItem

Prepare = Callable[[slice], list[PreparedItem]]


class Work:
    """Preprocesses ten inputs, three at a time, and does something after each part."""

    def __init__(self, after_part: Callable[["Work"], None] = lambda work: None) -> None:
        self.now, self.stopped = 0.0, False
        self.seen: list[int] = []
        self._after_part = after_part
        self.preparation = Preparation(10, 3, self.prepare, 5.0, lambda: self.now, lambda: self.stopped)

    def prepare(self, part: slice) -> list[PreparedItem]:
        inputs = list(range(10))[part]
        self.seen += inputs
        self._after_part(self)
        return [PreparedItem(zeros(1), size=number) for number in inputs]


def test_all_inputs_are_prepared_in_order() -> None:
    work = Work()
    assert [item.size for item in work.preparation.run()] == work.seen == list(range(10))


def expire(work: Work) -> None:
    work.now = 5.0


def stop(work: Work) -> None:
    work.stopped = True


def abandon(work: Work) -> None:
    work.preparation.abandoned = True


@pytest.mark.parametrize(("end", "error"), [(expire, ExpiredError), (stop, NotReadyError), (abandon, EngineError)])
def test_nothing_more_is_prepared_once_nobody_waits(end: Callable[[Work], None], error: type[Exception]) -> None:
    work = Work(after_part=end)
    with pytest.raises(error):
        work.preparation.run()
    assert work.seen == [0, 1, 2]


def test_bad_inputs_of_all_parts_are_named_by_their_own_indices() -> None:
    def refuse_second(part: slice) -> list[PreparedItem]:
        raise InvalidItemsError({1: "is empty"})

    preparation = Preparation(6, 3, refuse_second, math.inf, lambda: 0.0, lambda: False)
    with pytest.raises(InvalidItemsError) as refused:
        preparation.run()
    assert refused.value.problems == {1: "is empty", 4: "is empty"}
