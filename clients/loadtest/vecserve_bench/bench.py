"""One load put on the server, and what came of it."""

import time
from collections.abc import Callable
from typing import TypeAlias

from vecserve_bench.checking import check_vectors
from vecserve_bench.live import Glance, Watch
from vecserve_bench.measuring import measurement
from vecserve_bench.record import Measurement, VectorCheck
from vecserve_bench.settings import AtConcurrency, Pressure, Step
from vecserve_bench.work import Work
from vecserve_loadtest import (
    ClosedLoop,
    Load,
    LoadGroup,
    LoadResult,
    OpenLoop,
    Plan,
    RunResult,
    merge_loads,
    split_load,
)

_LOOK_EVERY = 0.1  # seconds
_SERVER_TIMING_EVERY = 4
"""Reading the trailer of a call takes 1 µs, of some 30 that a call takes."""
_SEEDS = 10_000  # steps that have arrivals of their own

Watcher: TypeAlias = Callable[[Glance], None]


class Bench:
    """Measures one step after another, always with the same calls.

    Args:
        address: The server's HOST:PORT.
        work: What is sent.
        pressure: How it is sent.
    """

    def __init__(self, address: str, work: Work, pressure: Pressure) -> None:
        self._address = address
        self._work = work
        self._pressure = pressure
        self._measured = 0

    def measure(self, step: Step, watcher: Watcher, duration: float | None = None) -> Measurement:
        """Put a load on the server, in processes of their own, and return what was measured.

        Args:
            step: The load.
            watcher: Told about twice a second how it goes.
            duration: Length of the window in seconds; None for the usual one.

        Raises:
            LoadError: If the load can't be run.
            ValueError: If the load can't be shared out among the processes.
        """
        load = self._load(step)
        self._measured += 1
        plans = [self._plan(part, duration) for part in split_load(load, self._processes(step))]
        results = _run(plans, watcher)
        whole = merge_loads([result.loads[0] for result in results], len(load.workload.messages))
        vectors = self._check(whole) if self._pressure.check_vectors else None
        processes = [result.process for result in results]
        return measurement(step, whole, processes, self._work.sizes, vectors)

    def _load(self, step: Step) -> Load:
        pressure = self._pressure
        return Load(
            "bench",
            self._work.workload,
            self._loop(step),
            connections=pressure.connections,
            keep_responses="all" if pressure.check_vectors else "none",
            server_timing_every=0 if self._work.workload.streamed else _SERVER_TIMING_EVERY,
            calls=pressure.calls,
        )

    def _loop(self, step: Step) -> ClosedLoop | OpenLoop:
        pressure = self._pressure
        if isinstance(step, AtConcurrency):
            return ClosedLoop(step.concurrency)
        # Not the same arrivals in each step: a draw with few or many calls would bend all of a curve one way.
        seed = pressure.seed * _SEEDS + self._measured
        return OpenLoop(step.rate, pressure.arrivals, seed, pressure.max_in_flight, pressure.late_after)

    def _plan(self, load: Load, duration: float | None) -> Plan:
        pressure = self._pressure
        return Plan(
            self._address,
            (load,),
            duration or pressure.duration,
            pressure.warmup,
            pressure.drain,
            realtime=pressure.realtime and isinstance(load.loop, OpenLoop),
        )

    def _processes(self, step: Step) -> int:
        most = self._pressure.processes
        return min(most, step.concurrency) if isinstance(step, AtConcurrency) else most

    def _check(self, whole: LoadResult) -> VectorCheck:
        return check_vectors(self._work.api, whole, self._work.sizes)


def _run(plans: list[Plan], watcher: Watcher) -> list[RunResult]:
    watch = Watch()
    with LoadGroup(plans) as group:
        group.begin()
        while group.running:
            if glance := watch.take(group.reports()):
                watcher(glance)
            time.sleep(_LOOK_EVERY)
        return group.wait()
