"""A plan carried out, in this process and thread."""

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from vecserve_loadtest.driver import Driver
from vecserve_loadtest.headers import request_headers
from vecserve_loadtest.link import Endpoint, resolve
from vecserve_loadtest.pacing import Window
from vecserve_loadtest.plan import Load, Plan
from vecserve_loadtest.poller import Poller
from vecserve_loadtest.pool import Pool, Target
from vecserve_loadtest.result import ProcessCost, RunResult

Clock: TypeAlias = Callable[[], float]


class LoadError(Exception):
    """A load could not be run."""


def run(plan: Plan) -> RunResult:
    """Carry out a plan and return what it measured.

    Whatever else this process does disturbs the measurement: `run_apart` gives the load a process of its own.

    Raises:
        LoadError: If not every connection is ready within the plan's `connect_timeout`.
        ValueError: If a load's metadata or deadline can't be put into headers.
    """
    clock = time.perf_counter
    poller = Poller(plan.poll_interval, clock)
    pools = _open(plan, poller, clock)
    try:
        _connect(plan, pools, poller, clock)
        begin = clock()
        start = begin + plan.warmup
        window = Window(begin, start, start + plan.duration)
        drivers = [Driver(load, pool, window, clock) for load, pool in zip(plan.loads, pools, strict=True)]
        return _measure(plan, window, drivers, poller, clock)
    finally:
        for pool in pools:
            pool.close()


def _measure(plan: Plan, window: Window, drivers: list[Driver], poller: Poller, clock: Clock) -> RunResult:
    def advance(until: float, *, draining: bool = False) -> None:
        while (now := clock()) < until:
            for driver in drivers:
                driver.step(now)
            if draining and all(driver.finished(now) for driver in drivers):
                return
            poller.wait(min([until, *[driver.wake(now) for driver in drivers]]))

    advance(window.start)
    started, before = time.time(), _Usage.now(clock)
    advance(window.stop)
    after = _Usage.now(clock)
    advance(window.stop + plan.drain, draining=True)
    for driver in drivers:
        driver.stop(clock())
    calls = sum(driver.ledger.ended_in_window for driver in drivers)
    return RunResult(
        address=plan.address,
        started=started,
        duration=plan.duration,
        loads=tuple(driver.result() for driver in drivers),
        process=ProcessCost(
            user=after.user - before.user,
            system=after.system - before.system,
            elapsed=after.clock - before.clock,
            calls=calls,
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
    headers = request_headers(plan.address, workload.method, workload.metadata, workload.deadline)
    return Target(endpoints, headers, plan.connect_timeout)


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
