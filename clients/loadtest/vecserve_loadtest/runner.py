"""A plan carried out, in this process and thread."""

import math
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from vecserve_loadtest.driver import Driver
from vecserve_loadtest.headers import request_headers
from vecserve_loadtest.link import Endpoint, resolve
from vecserve_loadtest.observer import Observer, Unobserved
from vecserve_loadtest.pacing import Window
from vecserve_loadtest.plan import UNIX, Load, Plan
from vecserve_loadtest.poller import Poller
from vecserve_loadtest.pool import Pool, Target
from vecserve_loadtest.realtime import is_realtime
from vecserve_loadtest.result import ProcessCost, RunResult

Clock: TypeAlias = Callable[[], float]


class LoadError(Exception):
    """A load could not be run."""


def run(plan: Plan, observer: Observer | None = None) -> RunResult:
    """Carry out a plan and return what it measured.

    Whatever else this process does disturbs the measurement: `run_apart` gives the load a process of its own.

    Args:
        plan: What to do.
        observer: Says when to begin, on the clock of `time.perf_counter`, and is told how it goes.

    Raises:
        LoadError: If not every connection is ready within the plan's `connect_timeout`.
        ValueError: If a load's metadata or deadline can't be put into headers.
    """
    clock = time.perf_counter
    poller = Poller(plan.poll_interval, clock)
    pools = _open(plan, poller, clock)
    observer = observer or Unobserved()
    try:
        _connect(plan, pools, poller, clock)
        begin = observer.begin(clock())
        drivers = [_driver(plan, load, pool, begin, clock) for load, pool in zip(plan.loads, pools, strict=True)]
        return _Run(plan, drivers, poller, clock, observer).measure(begin)
    finally:
        for pool in pools:
            pool.close()


def _driver(plan: Plan, load: Load, pool: Pool, begin: float, clock: Clock) -> Driver:
    start = begin + plan.warmup
    return Driver(load, pool, Window(begin, start, start + plan.duration), clock)


class _Run:
    """The loads of a plan under way."""

    def __init__(self, plan: Plan, drivers: Sequence[Driver], poller: Poller, clock: Clock, observer: Observer) -> None:
        self._plan = plan
        self._drivers = drivers
        self._poller = poller
        self._clock = clock
        self._observer = observer
        self._next_report = math.inf

    def measure(self, begin: float) -> RunResult:
        while self._clock() < begin:
            self._poller.wait(begin)
        self._next_report = begin + self._observer.every
        start = begin + self._plan.warmup
        self._advance(lambda now: now >= start, lambda: start)
        started, before = time.time(), _Usage.now(self._clock)
        self._advance(lambda now: now >= self._stop(), self._stop)
        after = _Usage.now(self._clock)
        end = self._stop() + self._plan.drain
        self._advance(lambda now: now >= end or all(driver.finished(now) for driver in self._drivers), lambda: end)
        for driver in self._drivers:
            driver.stop(self._clock())
        return self._result(started, before, after)

    def _advance(self, over: Callable[[float], bool], until: Callable[[], float]) -> None:
        while not over(now := self._clock()):
            for driver in self._drivers:
                driver.step(now)
            if over(now):  # it has booked the last call, and nothing more comes to wait for
                return
            if now >= self._next_report:
                self._report(now)
            wake = max(min(driver.wake(now) for driver in self._drivers), now + self._plan.send_interval)
            self._poller.wait(min(until(), self._next_report, wake))

    def _stop(self) -> float:
        """Return when the last of the loads' windows ends."""
        return max(driver.window.stop for driver in self._drivers)

    def _report(self, now: float) -> None:
        self._observer.report([driver.ledger.progress(now) for driver in self._drivers])
        self._next_report = now + self._observer.every

    def _result(self, started: float, before: "_Usage", after: "_Usage") -> RunResult:
        return RunResult(
            address=self._plan.address,
            started=started,
            duration=max(driver.window.stop - driver.window.start for driver in self._drivers),
            loads=tuple(driver.result() for driver in self._drivers),
            process=ProcessCost(
                user=after.user - before.user,
                system=after.system - before.system,
                elapsed=after.clock - before.clock,
                calls=sum(driver.ledger.ended_in_window for driver in self._drivers),
                realtime=is_realtime(),
            ),
        )


@dataclass(frozen=True, slots=True)
class _Usage:
    """CPU time that this process has had, and the clock at that time: all in seconds."""

    user: float
    system: float
    clock: float

    @classmethod
    def now(cls, clock: Clock) -> "_Usage":
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return cls(usage.ru_utime, usage.ru_stime, clock())


def _open(plan: Plan, poller: Poller, clock: Clock) -> list[Pool]:
    try:
        endpoints = resolve(plan.address)
    except OSError as error:
        raise LoadError(f"{plan.address} can't be resolved: {error}") from error
    return [Pool(_target(plan, load, endpoints), load.connections, poller, clock) for load in plan.loads]


def _target(plan: Plan, load: Load, endpoints: Sequence[Endpoint]) -> Target:
    workload = load.workload
    # A path is no authority: gRPC's own clients say localhost too.
    authority = "localhost" if plan.address.startswith(UNIX) else plan.address
    headers = request_headers(authority, workload.method, workload.metadata, workload.deadline)
    return Target(endpoints, headers, plan.connect_timeout, workload.streamed)


def _connect(plan: Plan, pools: list[Pool], poller: Poller, clock: Clock) -> None:
    end = clock() + plan.connect_timeout
    while not all(pool.complete for pool in pools):
        now = clock()
        if now >= end:
            error = next((pool.counts.error for pool in pools if pool.counts.error), "no HTTP/2 greeting")
            raise LoadError(
                f"no gRPC server without TLS answers at {plan.address} within {plan.connect_timeout:g} s: {error}"
            )
        for pool in pools:
            pool.tend(now)
            pool.flush()
        poller.wait(min(end, *(pool.wake for pool in pools)))
