"""The search, on servers that are simulated: queues whose highest rate is known."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from vecserve_bench.search import Trial, search

SERVICE = 0.004
"""Seconds that the simulated server takes for a call, one after another."""
CAPACITY = 1 / SERVICE


@dataclass
class Queue:
    """One server with a first-come-first-served queue, Poisson arrivals and constant service: M/D/1."""

    objective: float
    """Seconds that the 99th percentile may take."""
    seconds: float = 20.0
    slowed: Callable[[np.random.Generator], float] = lambda random: 1.0
    """By how much a run is slower than others."""
    seed: int = 0
    trials: list[Trial] = field(default_factory=list[Trial])

    def holds(self, trial: Trial) -> bool:
        self.trials.append(trial)
        random = np.random.default_rng((self.seed, len(self.trials)))
        service = SERVICE * self.slowed(random)
        return p99(trial.rate, self.seconds * trial.length, service, random) <= self.objective


def p99(rate: float, seconds: float, service: float, random: np.random.Generator) -> float:
    """By Lindley's recursion, unrolled: a call waits for the largest backlog since the queue was empty last."""
    gaps = random.exponential(1 / rate, max(100, int(rate * seconds)))
    steps = np.cumsum(service - gaps)
    waits = steps - np.minimum.accumulate(steps)
    return float(np.percentile(waits + service, 99))


@functools.cache
def highest(objective: float) -> float:
    """The rate whose 99th percentile, over very many calls, is the objective."""
    low, high = 0.1 * CAPACITY, CAPACITY
    while high / low > 1.01:
        middle = (low + high) / 2
        held = p99(middle, 2000, SERVICE, np.random.default_rng(1)) <= objective
        low, high = (middle, high) if held else (low, middle)
    return low


@pytest.mark.parametrize("objective", [0.012, 0.02, 0.05])
def test_the_highest_rate_of_a_queue_is_found_mostly_a_little_below_and_hardly_ever_above(objective: float) -> None:
    queues = [Queue(objective, seed=seed) for seed in range(40)]

    found = np.array([search(CAPACITY, queue.holds) or 0.0 for queue in queues]) / highest(objective)

    assert 0.92 < np.median(found) <= 1.0
    assert np.percentile(found, 10) > 0.75
    assert np.percentile(found, 90) < 1.06
    assert max(len(queue.trials) for queue in queues) <= 22


def test_without_noise_the_rate_above_the_result_misses() -> None:
    tried: list[Trial] = []

    def holds(trial: Trial) -> bool:
        tried.append(trial)
        return trial.rate <= 123.4

    found = search(1000, holds)

    assert found is not None
    assert found <= 123.4 < found * 1.05
    assert [trial.length for trial in tried if trial.purpose == "confirm"] == [2.0, 2.0]


@pytest.mark.parametrize("seed", range(4))
def test_runs_that_others_made_slow_do_not_decide(seed: int) -> None:
    queue = Queue(0.02, slowed=lambda random: 1.5 if random.random() < 0.15 else 1.0, seed=seed)

    found = search(CAPACITY, queue.holds)

    assert found is not None
    assert 0.6 * highest(0.02) < found <= 1.1 * highest(0.02)


def test_a_lucky_run_is_not_confirmed() -> None:
    lucky = iter([True])

    def holds(trial: Trial) -> bool:
        return trial.rate <= 50 or (trial.purpose == "bisect" and next(lucky, False))

    found = search(100, holds)

    assert found is not None
    assert found <= 50


def test_a_miss_is_tried_again_before_it_counts() -> None:
    tried: list[Trial] = []

    def holds(trial: Trial) -> bool:
        tried.append(trial)
        return trial.rate < 80 and len(tried) != 1

    found = search(100, holds)

    assert [(trial.rate, trial.purpose) for trial in tried[:2]] == [(75, "bracket"), (75, "repeat")]
    assert found is not None
    assert found >= 75


def test_where_no_rate_holds_there_is_no_result_and_an_end() -> None:
    tried: list[Trial] = []

    assert search(100, lambda trial: bool(tried.append(trial))) is None
    assert min(trial.rate for trial in tried) >= 100 / 64
    assert len(tried) <= 14


def test_a_server_that_becomes_ever_slower_ends_the_search() -> None:
    left = iter([True] * 3)

    assert search(100, lambda trial: next(left, False)) is None


def test_where_every_rate_holds_the_search_ends_at_four_times_the_capacity() -> None:
    found = search(100, lambda trial: True)

    assert found is not None
    assert 300 < found <= 400


def test_a_server_that_answers_nothing_has_no_rate() -> None:
    with pytest.raises(ValueError, match="answered 0 calls a second"):
        search(0, lambda trial: True)
