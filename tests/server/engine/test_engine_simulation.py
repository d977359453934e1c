"""The whole engine under random calls on a simulated event loop: what must hold whatever comes.

Real are admission, room, preprocessing, queue, scheduler and the settling of calls; only threads, time and the models'
computing are simulated.
"""

import asyncio
import itertools
import logging
import math
from collections.abc import Awaitable, Hashable, Iterable, Iterator, Sequence
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from chance import COSTS, HANGING, Arrival, World, arrival_of, worlds
from controlled import Recorder
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from simulated import SimulatedInstances, SimulatedLoop, SimulatedModel

from vecserve_server.engine import computing
from vecserve_server.engine.admission import DeadlineUnmetError
from vecserve_server.engine.call import WorkItem
from vecserve_server.engine.catalog import Catalog
from vecserve_server.engine.engine import Embeddings, Engine
from vecserve_server.engine.errors import (
    ExpiredError,
    InferenceFailedError,
    ModelFailingError,
    NotReadyError,
    OverloadedError,
)
from vecserve_server.engine.instances import Outcome
from vecserve_server.engine.observer import Drop
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.scheduler import Batch
from vecserve_server.engine.seat import Seat
from vecserve_server.engine.served import Served, prepare
from vecserve_server.engine.settings import EngineSettings
from vecserve_server.engine.terms import Terms
from vecserve_server.models.inputs import (
    AnyInputs,
    AnyTextInputs,
    InvalidItemsError,
    Prepared,
    PreparedItem,
    TextInputs,
)
from vecserve_server.models.manifest import Manifest
from vecserve_server.models.model import TextModel

TICK = 0.05
RUN_TIMEOUT = 5.0
MOST_FAILURES = 3
ROUNDING = 1e-9
"""Of the simulated clock, which adds up what threads spend."""
LATEST = 1.0
"""Seconds in which a call hears of its vectors, though another batch hangs for which it waits."""
END = 3600.0
"""Nothing that is waited for may take until then."""


class Simulation:
    """An engine, its callers, and an account of what became of every input."""

    def __init__(self, world: World, manifest: Manifest) -> None:
        self.world = world
        self.loop = SimulatedLoop(world.lag)
        self.recorder = Recorder()
        self.over: set[int] = set()
        """Inputs whose callers have gone, with an answer or without."""
        self.failed: set[int] = set()
        self.waiters: dict[Priority, list[int]] = {priority: [] for priority in Priority}
        """The first inputs of calls that wait for room, as they came."""
        self.let_in: list[int] = []
        """The first inputs of all calls, as they were let in."""
        self._numbers = itertools.count()
        self._active = self._refused = 0
        self._stopped = False
        self.dead = False
        """Whether an instance died, which fails whatever was waiting."""
        self.trials: set[int] = set()
        """Inputs that the engine made up itself."""
        self.served: list[Served] = []
        """Every version of every model."""
        self._manifest = manifest
        self._versions = itertools.count(1)
        models = [self._model(name) for name in COSTS]
        limits = EngineSettings(
            world.instances, 1, 128, 4, world.longest_wait, {"slow": 2.0}, RUN_TIMEOUT, MOST_FAILURES
        )
        with patch.object(computing, "Instances", self._make_instances):
            self.engine = AuditedEngine(self, Catalog(models), limits, self.loop.time, self.recorder)
        self.served += map(self.engine.served, models)
        self._runs = itertools.cycle(world.runs)
        for model in models:
            model.runs = self._runs

    def _model(self, name: str) -> "AuditedModel":
        return AuditedModel(self, name, self._manifest, str(next(self._versions)))

    def number(self) -> int:
        return next(self._numbers)

    def _make_instances(self, *args: Any, **kwargs: Any) -> "AuditedInstances":
        self.instances = AuditedInstances(self, *args, **kwargs)
        return self.instances

    def run(self, traffic: list[Arrival]) -> None:
        self.loop.on_quiet = self.instances.check_busy
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(self._run(traffic))
        self._check_order()
        self._check_accounts(traffic)

    async def _run(self, traffic: list[Arrival]) -> None:
        self.engine.start()
        tasks = [asyncio.create_task(self._stop(after=self.world.stop_at))] if self.world.stop_at is not None else []
        tasks += [asyncio.create_task(self._swap(tick)) for tick in self.world.swaps]
        for arrival in traffic:
            if arrival.gap:
                await asyncio.sleep(arrival.gap * TICK)
            call = asyncio.create_task(self._call(arrival))
            tasks.append(call)
            if arrival.cancelled_after is not None:
                self.loop.call_later(arrival.cancelled_after * TICK, call.cancel)
        for task in tasks:
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()
        await self.engine.idle()
        assert self.trials or not self.instances.queued
        assert self.loop.time() < END, "something took for ever"
        await self._stop()

    async def _swap(self, tick: int) -> None:
        await asyncio.sleep(tick * TICK)
        if self._stopped:
            return
        old, new = self.engine.catalog.get("slow"), self._model("slow")
        served, _ = self.loop.aside(lambda: prepare(new, self.engine.settings, self.loop.time))
        new.runs = self._runs
        self.served.append(served)
        self.engine.open(served)
        self.engine.replace_catalog(Catalog([new, self.engine.catalog.get("quick")]))
        await self.engine.retire(old)

    async def _stop(self, after: int = 0) -> None:
        await asyncio.sleep(after * TICK)
        self._stopped = True
        await self.engine.stop()

    async def _call(self, arrival: Arrival) -> None:
        numbers = list(itertools.islice(self._numbers, len(arrival.sizes)))
        texts = TextInputs([f"{number} {size}" for number, size in zip(numbers, arrival.sizes, strict=True)])
        deadline = math.inf if arrival.patience is None else self.loop.time() + arrival.patience * TICK
        terms = Terms(deadline, arrival.priority, arrival.waits_for_room)
        model = self.engine.catalog.text_model(arrival.model)
        was_idle = not (self._active or self.instances.running or self.instances.queued)
        if arrival.waits_for_room:
            self.waiters[arrival.priority].append(numbers[0])
        self._active += 1
        try:
            outcome = await _outcome(self.engine.embed_texts(model, texts, terms))
        finally:
            self._active -= 1
            self.over.update(numbers)
        self._check_outcome(outcome, arrival, numbers, was_idle=was_idle)

    def _check_outcome(
        self, outcome: Embeddings | Exception, arrival: Arrival, numbers: list[int], *, was_idle: bool
    ) -> None:
        match outcome:
            case Embeddings():
                assert outcome.vectors[:, 0].tolist() == numbers
                assert 0 not in arrival.sizes
                assert self.failed.isdisjoint(numbers)
                assert min(outcome.timings.preprocess, outcome.timings.queue, outcome.timings.infer) >= 0
                assert -ROUNDING <= outcome.timings.output <= LATEST + ROUNDING, "told late of its vectors"
            case InvalidItemsError():
                assert list(outcome.problems) == [index for index, size in enumerate(arrival.sizes) if not size]
            case OverloadedError():
                self._refused += 1
                assert not was_idle, "refused by an idle engine"
                assert isinstance(outcome, DeadlineUnmetError) or not arrival.waits_for_room
            case ExpiredError():
                assert arrival.patience is not None
            case NotReadyError():
                assert self._stopped or self.instances.exhausted
            case ModelFailingError():
                self._refused += not self.instances.saw(numbers)
                assert self.instances.failures >= MOST_FAILURES
            case InferenceFailedError():
                assert self.dead or not self.failed.isdisjoint(numbers)
            case _:
                raise outcome

    def _check_order(self) -> None:
        for waiters in self.waiters.values():
            let_in = [number for number in self.let_in if number in waiters]
            assert let_in == sorted(let_in), "let in out of order"

    def _check_accounts(self, traffic: list[Arrival]) -> None:
        told, drops = self.recorder, self.recorder.drops
        assert told.refusals.total() == self._refused
        assert told.computed + told.failed + drops.total() == self.instances.submitted
        gone = any(arrival.cancelled_after is not None for arrival in traffic)
        assert not drops[Drop.EXPIRED] or any(arrival.patience is not None for arrival in traffic)
        assert not drops[Drop.CANCELLED] or gone or self.failed or self.dead or drops[Drop.EXPIRED]
        hung = any(slowness == HANGING for slowness, _ in self.world.runs)
        assert not drops[Drop.STOPPED] or hung or self.trials or self.world.stop_at is not None


class AuditedInstances(SimulatedInstances):
    """Checks what goes into the queue and comes out of it."""

    def __init__(self, simulation: Simulation, *args: Any, **kwargs: Any) -> None:
        super().__init__(simulation.loop, *args, **kwargs)
        self.submitted = 0
        self.failures = 0
        self._simulation = simulation
        self._looks = itertools.count()
        self._seen: set[int] = set()
        """Inputs that came into the queue."""
        self._report_outcome, self._on_outcome = self._on_outcome, self._note
        self._taken: set[int] = set()
        self._drop, self._on_dropped = self._on_dropped, self._check_dropped

    def _note(self, outcome: Outcome) -> None:
        self.failures += outcome.error is not None
        self._report_outcome(outcome)

    def saw(self, numbers: list[int]) -> bool:
        return not self._seen.isdisjoint(numbers)

    @property
    def queued(self) -> bool:
        return any(self._scheduler.waiting_seconds(priority) for priority in Priority)

    def submit(self, key: Hashable, priority: Priority, items: Iterable[WorkItem]) -> None:
        items = list(items)
        super().submit(key, priority, items)
        self.submitted += len(items)
        self._seen.update(int(item.payload[0]) for item in items)

    def check_busy(self) -> None:
        for priority in Priority:
            assert self._idle[priority] == len(self.resting[priority])
            assert not (self.resting[priority] and self._scheduler.waiting_seconds(priority)), "idle while work waits"

    def _take(self, seat: Seat) -> Batch | None:
        look = next(self._looks)
        self._die_at(2 * look)
        batch = super()._take(seat)
        for item in batch.items if batch else []:
            identity = int(item.payload[0])
            assert item.call.deadline > self.loop.time(), "computed after its deadline"
            assert identity not in self._simulation.over, "computed though nobody waits"
            assert identity not in self._taken, "computed twice"
            self._taken.add(identity)
        if batch:
            self._simulation.failed.update(identities := {int(item.payload[0]) for item in batch.items})
            self._die_at(2 * look + 1)
            self._simulation.failed.difference_update(identities)
        return batch

    def _die_at(self, moment: int) -> None:
        if moment in self._simulation.world.deaths:
            self._simulation.dead = True
            raise RuntimeError("died")

    def _check_dropped(self, model: str, items: list[WorkItem]) -> None:
        served = [served for served in self._simulation.served if served.model.name == model]
        costs = [lane.cost for version in served for lane in version.lanes.values()]
        for item in items:
            needed = max(cost.batch_seconds(item.size) for cost in costs)
            due = item.call.deadline - 0.04 * (item.call.deadline - item.arrival)
            assert item.call.abandoned or self.loop.time() + 1.2 * needed >= due, "dropped too early"
        self._drop(model, items)


class AuditedEngine(Engine):
    """Tells the simulation which calls were let in."""

    def __init__(self, simulation: Simulation, *args: Any) -> None:
        super().__init__(*args)
        self._simulation = simulation

    async def _admit(self, served: Served, inputs: AnyInputs, size: int, terms: Terms) -> None:
        await super()._admit(served, inputs, size, terms)
        assert isinstance(inputs, TextInputs)
        self._simulation.let_in.append(int(inputs.texts[0].split()[0]))


class AuditedModel(SimulatedModel):
    """Tells the simulation which inputs failed."""

    def __init__(self, simulation: Simulation, name: str, manifest: Manifest, version: str) -> None:
        super().__init__(name, manifest, simulation.loop, COSTS[name], version)
        self._simulation = simulation
        self._own: set[int] = set()
        """Inputs that this version has prepared, or made up."""

    def sample(self, size: int) -> PreparedItem:
        item = super().sample(size)
        item.payload[0] = self._simulation.number()
        self._own.add(int(item.payload[0]))
        self._simulation.trials.add(int(item.payload[0]))
        return item

    def prepare_all(self, calls: Sequence[AnyTextInputs]) -> list[Prepared]:
        results = super().prepare_all(calls)
        for items in results:
            if not isinstance(items, InvalidItemsError):
                self._own.update(int(item.payload[0]) for item in items)
        return results

    def run(self, payloads: Sequence[NDArray[Any]], *, alone: bool = False) -> NDArray[np.float32]:
        numbers = {int(number) for number, _ in payloads}
        assert numbers <= self._own, "run by another version than the one that prepared it"
        before = self._loop.time()
        try:
            vectors = super().run(payloads, alone=alone)
        except RuntimeError:
            self._simulation.failed |= numbers
            raise
        if self._loop.time() - before >= RUN_TIMEOUT:
            self._simulation.failed |= numbers
        return vectors


async def _outcome(call: Awaitable[Embeddings]) -> Embeddings | Exception:
    try:
        return await call
    except Exception as error:
        return error


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of simulated troubles need not be logged."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


WOKEN_AND_DEAD = World(
    instances=3, longest_wait=0.02, runs=[(0.1, True)], lag=0.0, stop_at=None, swaps=[22], deaths=frozenset({40})
)
"""An instance dies when it was woken for what waits, while two others rest."""


TRIED_AND_CLOSED = World(
    instances=1,
    longest_wait=0.02,
    runs=[(0.1, True), (100000.0, False), (0.1, True)],
    lag=0.0,
    stop_at=None,
    swaps=[41],
    deaths=frozenset({2}),
)
"""A model goes whose trial still waits."""


@settings(max_examples=5 * settings().max_examples)
@example(
    traffic=[arrival_of(call) for call in (b"\0\0\1\1\1", b"\x11\2\x16\x14\1", b"\0\0\1\1\1", b"\0\2\x14\x14\1")],
    world=TRIED_AND_CLOSED,
)
@example(
    traffic=[arrival_of(call) for call in (b"\0\0\3\1\1\4", b"\x96\3\1\1\1\6\x0b", b"\0\0\1\0\1")],
    world=WOKEN_AND_DEAD,
)
@given(traffic=st.lists(st.binary(min_size=5, max_size=16).map(arrival_of), max_size=16), world=worlds)
def test_every_call_ends_once_with_its_vectors_in_order_or_a_reason(
    traffic: list[Arrival], world: World, text_model: TextModel
) -> None:
    Simulation(world, text_model.manifest).run(traffic)
