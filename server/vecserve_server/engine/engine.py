"""The way of a call through the engine: admit, preprocess, queue, run, collect."""

import asyncio
import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vecserve_server.engine.admission import DeadlineUnmetError, admit
from vecserve_server.engine.batching import BatchPolicy
from vecserve_server.engine.call import Call, WorkItem
from vecserve_server.engine.catalog import Catalog
from vecserve_server.engine.cost import Average
from vecserve_server.engine.errors import (
    EngineError,
    ExpiredError,
    InferenceFailedError,
    InvalidInputError,
    NotReadyError,
    OverloadedError,
    Violation,
)
from vecserve_server.engine.instances import Instances, Load, Outcome
from vecserve_server.engine.norms import euclidean_norms
from vecserve_server.engine.observer import Drop, Observer, Refusal
from vecserve_server.engine.preprocessing import Preprocessing
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.room import Room
from vecserve_server.engine.scheduler import Lane, Scheduler
from vecserve_server.engine.terms import Terms
from vecserve_server.engine.timings import Timings
from vecserve_server.engine.warmup import grow, measure
from vecserve_server.models.inputs import AnyImageInputs, AnyInputs, AnyTextInputs, PreparedItem
from vecserve_server.models.model import AnyModel, ImageModel, TextModel

# About how many tokens one text may have, prompt included, to be tokenized on the event loop. 128 bytes took 85 to
# 142 µs, depending on the script, where the way to a thread and back alone took 173 µs.
_INLINE_TOKENS = 34

_STOPPED = "the server stopped before the work was done"


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How the engine batches, and how much it takes on."""

    instances: int
    """Batches that run at once."""
    preprocessing_threads: int
    batch_tokens: int
    """Tokens after padding that no batch of texts exceeds."""
    batch_images: int
    max_queue_seconds: float
    """Predicted wait beyond which calls are refused."""
    weights: Mapping[str, float] = field(default_factory=dict[str, float])
    """Shares of the instances' time by model; 1 where not set."""


@dataclass(frozen=True, slots=True)
class Embeddings:
    """What a call gets."""

    vectors: NDArray[np.float32]
    """`(inputs, dimensionality)`, not normalized."""
    norms: NDArray[np.float64]
    """`(inputs,)`: Euclidean norms of the vectors."""
    items: list[PreparedItem]
    """What became of each input."""
    timings: Timings


class Engine:
    """Embeds inputs with the models of a catalog.

    It belongs to the event loop on which it was started; batches and preprocessing run on threads of their own.
    """

    def __init__(
        self,
        catalog: Catalog,
        settings: EngineSettings,
        clock: Callable[[], float] = time.monotonic,
        observer: Observer | None = None,
    ) -> None:
        """Warms up and measures every model, which takes seconds: call it on a thread."""
        self.catalog = catalog
        self.clock = clock
        self._settings = settings
        self._observer = observer or Observer()
        self.lanes = _lanes(catalog, settings, clock)
        self._preprocessing = Preprocessing(catalog, settings.preprocessing_threads, clock)
        # Predicted seconds of each call that is being preprocessed: a running sum would keep what was rounded off, and
        # an idle engine would have calls wait.
        self._preparing: dict[Priority, list[float]] = {priority: [] for priority in Priority}
        self._instances = Instances(
            Scheduler(self.lanes),
            {model.name: model for model in catalog},
            settings.instances,
            on_outcome=self._store,
            on_dropped=self._expire,
            clock=clock,
        )
        # One for each priority, or interactive calls would wait behind bulk ones.
        self._rooms = {priority: Room() for priority in Priority}
        # How late the event loop takes note of what has happened, when it has too much to do itself.
        self._lag = Average()
        self._accepted = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopped = False

    def grow(self) -> None:
        """Takes the memory that the busiest moment will need; it takes seconds: call it on a thread, before `start`."""
        for model in self.catalog:
            policy = self.lanes[model.name, Priority.INTERACTIVE].policy
            size = min(policy.largest, 2 * policy.full)  # when what waits is no multiple of a full batch, see `budget`
            grow(model, size, self._settings.instances * len(Priority))

    def start(self) -> None:
        """Starts the instances; calls are answered on the running event loop from now on."""
        self._loop = asyncio.get_running_loop()
        self._instances.start()

    def load(self) -> Load:
        """What waits and runs now. From any thread."""
        return self._instances.load()

    async def idle(self) -> None:
        """Waits until every accepted call has ended."""
        await self._idle.wait()

    async def stop(self) -> None:
        """Ends the threads after the batches that run; calls that still wait fail."""
        self._stopped = True
        left = await asyncio.to_thread(self._instances.stop)
        for model, items in left.items():
            self._observer.dropped(model, Drop.STOPPED, len(items))
            for item in items:
                item.call.fail(NotReadyError(_STOPPED))
        self._offer_room()
        self._preprocessing.stop()

    async def embed_texts(self, model: TextModel, inputs: AnyTextInputs, terms: Terms) -> Embeddings:
        """Embeds texts.

        Raises:
            InvalidInputError: there are none.
            InvalidItemsError: names the inputs that can't be embedded.
            NotReadyError: the engine was stopped.
            OverloadedError: the call would wait too long, or past its deadline.
            ExpiredError: its deadline passed before it was computed.
            InferenceFailedError: ONNX Runtime failed.
        """
        size = model.estimate(inputs)
        inline = len(inputs) == 1 and size <= _INLINE_TOKENS
        return await self._embed(model, inputs, size, terms, inline=inline)

    async def embed_images(self, model: ImageModel, inputs: AnyImageInputs, terms: Terms) -> Embeddings:
        """As `embed_texts`, for images."""
        return await self._embed(model, inputs, len(inputs), terms, inline=False)

    async def _embed(self, model: AnyModel, inputs: AnyInputs, size: int, terms: Terms, *, inline: bool) -> Embeddings:
        if not size:
            raise InvalidInputError([Violation("inputs", "is empty")])
        self._accepted += 1
        self._idle.clear()
        progress = terms.progress
        progress.received = received = self.clock()
        try:
            await self._admit(model, inputs, size, terms)
            if inline:
                items = model.prepare(inputs)  # pyright: ignore[reportArgumentType] (each model takes its own inputs)
            else:
                items = await self._prepare(model, inputs, size, terms)
            progress.prepared = prepared = self.clock()
            call = await self._compute(model, items, terms)
        except BaseException:
            self._observer.unanswered(model.name, self.clock() - received)
            raise
        finally:
            self._accepted -= 1
            self._offer_room()
            if not self._accepted:
                self._idle.set()
        progress.started, progress.ended = call.started, call.ended
        timings = Timings(
            prepared - received, call.started - prepared, call.ended - call.started, self.clock() - call.ended
        )
        self._observer.answered(model.name, timings)
        return Embeddings(call.vectors, call.norms, items, timings)

    async def _admit(self, model: AnyModel, inputs: AnyInputs, size: int, terms: Terms) -> None:
        """Returns when the call may begin; at once, unless it waits for room."""
        cost = self.lanes[model.name, terms.priority].cost
        spread = min(len(inputs), self._settings.instances)
        work = cost.batch_seconds(math.ceil(size / spread)) + self._preprocessing.seconds(model, inputs, size)
        if terms.waits_for_room:
            await self._rooms[terms.priority].enter(lambda: self._fits(model, work, terms))
        else:
            self._fits(model, work, terms)

    def _fits(self, model: AnyModel, work: float, terms: Terms) -> bool:
        """Whether the call may begin; False if it has to wait for room."""
        if self._stopped:
            raise NotReadyError(_STOPPED)
        try:
            patience = terms.deadline - self.clock()
            admit(self._wait(terms.priority), work, patience, self._settings.max_queue_seconds)
        except DeadlineUnmetError:
            self._observer.refused(model.name, Refusal.DEADLINE)
            raise
        except OverloadedError:
            if terms.waits_for_room:
                return False
            self._observer.refused(model.name, Refusal.QUEUE_FULL)
            raise
        return True

    def _offer_room(self) -> None:
        for room in self._rooms.values():
            room.offer()

    def _wait(self, priority: Priority) -> float:
        """Seconds until the work of a call that came now would begin."""
        preparing = sum(sum(self._preparing[level]) for level in priority.ahead)
        wait = self._instances.wait(priority) + preparing / self._settings.instances
        return wait + self._lag.seconds if wait else 0.0

    async def _prepare(self, model: AnyModel, inputs: AnyInputs, size: int, terms: Terms) -> list[PreparedItem]:
        """Preprocesses on a thread; meanwhile the call counts as work to come."""
        cost = self.lanes[model.name, terms.priority].cost
        work = cost.batch_seconds(size) + self._preprocessing.seconds(model, inputs, size)
        preparing = self._preparing[terms.priority]
        preparing.append(work)
        try:
            return await self._preprocessing.prepare(model, inputs, size, terms)
        finally:
            preparing.remove(work)

    async def _compute(self, model: AnyModel, items: Sequence[PreparedItem], terms: Terms) -> Call:
        done: asyncio.Future[None] = self._loop.create_future()
        call = Call(
            np.empty((len(items), model.manifest.dimensionality), dtype=np.float32),
            np.empty(len(items)),
            lambda error: _resolve(done, error),
            terms.deadline,
            trace=terms.progress.trace,
        )
        work = [WorkItem(call, index, item.payload, item.size) for index, item in enumerate(items)]
        self._instances.submit(model.name, terms.priority, work)
        try:
            await done
        except BaseException as error:
            call.abandon()
            withdrawn = self._instances.withdraw(model.name, terms.priority, work)
            reason = Drop.EXPIRED if isinstance(error, ExpiredError) else Drop.CANCELLED
            self._observer.dropped(model.name, reason, withdrawn)
            raise
        return call

    def _store(self, outcome: Outcome) -> None:
        """Copies a batch's vectors to their calls, which end however this goes. On the instance's thread."""
        items = outcome.batch.items
        try:
            if outcome.vectors is not None:
                norms = euclidean_norms(outcome.vectors)
                for item, vector, norm in zip(items, outcome.vectors, norms, strict=True):
                    item.call.vectors[item.index] = vector
                    item.call.norms[item.index] = norm
            late = sum(item.call.deadline < outcome.ended for item in items)
            self._observer.ran(outcome.batch, outcome.ended - outcome.started, late, failed=outcome.error is not None)
        except Exception as error:
            outcome = dataclasses.replace(outcome, error=outcome.error or error)
            raise
        finally:
            self._loop.call_soon_threadsafe(self._settle, outcome)

    def _settle(self, outcome: Outcome) -> None:
        batch = outcome.batch
        self._lag.observe(1, self.clock() - outcome.ended)
        if outcome.error is None:
            cost = self.lanes[batch.model, batch.priority].cost
            cost.observe(batch.padded_size, outcome.ended - outcome.started)
        for item in batch.items:
            if outcome.error is not None:
                item.call.fail(_inference_failed(outcome))
            elif not math.isfinite(item.call.norms[item.index]):
                item.call.fail(InferenceFailedError(f"the vector of input {item.index} is not finite"))
            else:
                item.call.advance(outcome.started, outcome.ended)
        self._offer_room()

    def _expire(self, model: str, items: list[WorkItem]) -> None:
        """Fails the calls whose deadlines passed in the queue. On an instance's thread."""
        expired = [item for item in items if not item.call.abandoned]
        self._observer.dropped(model, Drop.EXPIRED, len(expired))
        self._observer.dropped(model, Drop.CANCELLED, len(items) - len(expired))
        for call in {item.call for item in expired}:
            error = ExpiredError("the deadline passed while the work waited")
            self._loop.call_soon_threadsafe(call.fail, error)


def _lanes(catalog: Catalog, settings: EngineSettings, clock: Callable[[], float]) -> dict[tuple[str, Priority], Lane]:
    """Measures the models. Each priority learns its own costs: bulk batches take longer beside interactive ones."""
    lanes: dict[tuple[str, Priority], Lane] = {}
    for model in catalog:
        largest = settings.batch_tokens if isinstance(model, TextModel) else settings.batch_images
        cost = measure(model, largest, clock)
        policy = BatchPolicy.of(cost, largest)
        for priority in Priority:
            lanes[model.name, priority] = Lane(policy, dataclasses.replace(cost), settings.weights.get(model.name, 1.0))
    return lanes


def _inference_failed(outcome: Outcome) -> InferenceFailedError:
    batch = outcome.batch
    error = InferenceFailedError(f"a batch of {len(batch.items)} items for model {batch.model} failed")
    error.__cause__ = outcome.error
    return error


def _resolve(done: asyncio.Future[None], error: EngineError | None) -> None:
    if done.done():  # the caller was cancelled
        return
    if error:
        done.set_exception(error)
    else:
        done.set_result(None)
