import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from vecserve_server.engine.resting import Resting


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


class Sleepers:
    """Threads that rest, and note when they are woken."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.lock = threading.Lock()
        self.resting = Resting(self.lock)
        self.woken: list[int] = []
        self._pool = pool
        self._begun: list[int] = []

    def add(self, *numbers: int) -> None:
        """Has threads rest, one after the other."""
        for number in numbers:
            self._pool.submit(self._sleep, number)
            until(lambda number=number: number in self._begun and not self.lock.locked())

    def _sleep(self, number: int) -> None:
        with self.lock:
            self._begun.append(number)
            self.resting.wait()
            assert self.lock.locked()
            self.woken.append(number)

    def wake_one(self) -> None:
        with self.lock:
            self.resting.wake_one()

    def wake_all(self) -> None:
        with self.lock:
            self.resting.wake_all()


@pytest.fixture
def sleepers() -> Iterator[Sleepers]:
    with ThreadPoolExecutor(3) as pool:
        sleepers = Sleepers(pool)
        try:
            yield sleepers
        finally:
            sleepers.wake_all()


def test_the_last_to_come_is_the_first_to_go(sleepers: Sleepers) -> None:
    sleepers.add(0, 1, 2)
    for count in (1, 2, 3):
        sleepers.wake_one()
        until(lambda count=count: len(sleepers.woken) == count)
    assert sleepers.woken == [2, 1, 0]


def test_all_are_woken_at_once(sleepers: Sleepers) -> None:
    sleepers.add(0, 1, 2)
    sleepers.wake_all()
    until(lambda: len(sleepers.woken) == 3)


def test_who_comes_later_is_not_woken_by_what_was_for_nobody(sleepers: Sleepers) -> None:
    sleepers.wake_one()
    sleepers.add(0)
    time.sleep(0.05)
    assert sleepers.woken == []
