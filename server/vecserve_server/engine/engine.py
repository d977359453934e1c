"""The way of a call through the engine: admit, preprocess, queue, run, collect."""

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vecserve_server.engine.admission import Admission
from vecserve_server.engine.call import Call
from vecserve_server.engine.catalog import Catalog
from vecserve_server.engine.cost import Average
from vecserve_server.engine.errors import (
    EngineError,
    ExpiredError,
    InferenceFailedError,
    InvalidInputError,
    NotReadyError,
    Violation,
)
from vecserve_server.engine.instances import Instances, Outcome
from vecserve_server.engine.preparation import Preparation
from vecserve_server.engine.scheduler import BatchLimits, Scheduler, WorkItem
from vecserve_server.engine.warmup import measure
from vecserve_server.models.inputs import ImageInputs, PreparedItem, TextInputs
from vecserve_server.models.model import AnyModel, ImageModel, TextModel

# What one text may have, prompt included, to be tokenized on the event loop. 128 bytes took 85 to 142 µs, depending on
# the script, where the way to a thread and back alone took 173 µs.
_INLINE_BYTES = 128

# Inputs that are preprocessed between two looks at whether somebody still waits.
_TEXTS_AT_ONCE = 16
_IMAGES_AT_ONCE = 1

# Tokens that take as long as the fixed cost of one more run, so that padding less than this is worth it. MiniLM took
# 4.7 ms for 4 tokens and 15.2 ms for 36.
_PADDING_TOKENS = 10

_STOPPED = "the server stopped before the work was done"


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How the engine batches, and how much it takes on."""

    instances: int
    """Batches that run at once."""
    preprocessing_threads: int
    batch_tokens: int
    """Tokens after padding at which a batch of texts is full."""
    batch_images: int
    max_queue_seconds: float
    """Predicted wait beyond which calls are refused."""


@dataclass(frozen=True, slots=True)
class Timings:
    """Where a call's time went, in seconds."""

    preprocess: float
    queue: float
    infer: float


@dataclass(frozen=True, slots=True)
class Embeddings:
    """What a call gets."""

    vectors: NDArray[np.float32]
    """`(inputs, dimensionality)`, not normalized."""
    items: list[PreparedItem]
    """What became of each input."""
    timings: Timings


class Engine:
    """Embeds inputs with the models of a catalog.

    It belongs to the event loop on which it was started; batches and preprocessing run on threads of their own.
    """

    def __init__(self, catalog: Catalog, settings: EngineSettings, clock: Callable[[], float] = time.monotonic) -> None:
        """Warms up and measures every model, which takes seconds: call it on a thread."""
        self.catalog = catalog
        self.clock = clock
        limits = {model.name: _batch_limits(model, settings) for model in catalog}
        self._costs = {model.name: measure(model, limits[model.name].padded_size, clock) for model in catalog}
        self._admission = Admission(settings.instances, settings.max_queue_seconds)
        self._preparation_costs = {model.name: Average() for model in catalog}
        # A pool for each, or texts of a millisecond would queue behind images of a second.
        self._preparing = {
            modality: ThreadPoolExecutor(settings.preprocessing_threads, thread_name_prefix=f"prepare-{modality}")
            for modality in {model.manifest.modality for model in catalog}
        }
        self._instances = Instances(
            Scheduler(limits),
            {model.name: model for model in catalog},
            settings.instances,
            on_outcome=self._store,
            on_expired=self._expire,
            clock=clock,
        )
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopped = False

    def start(self) -> None:
        """Starts the instances; calls are answered on the running event loop from now on."""
        self._loop = asyncio.get_running_loop()
        self._instances.start()

    async def idle(self) -> None:
        """Waits until every accepted call has ended."""
        await self._idle.wait()

    async def stop(self) -> None:
        """Ends the threads after the batches that run; calls that still wait fail."""
        self._stopped = True
        left = await asyncio.to_thread(self._instances.stop)
        for item in left:
            item.call.fail(NotReadyError(_STOPPED))
        for pool in self._preparing.values():
            pool.shutdown(wait=False)  # what is in there ends by itself, see Preparation

    async def embed_texts(self, model: TextModel, inputs: TextInputs, deadline: float = math.inf) -> Embeddings:
        """Embeds texts; `deadline` is on the engine's clock, in seconds.

        Raises:
            InvalidInputError: there are none.
            InvalidItemsError: names the inputs that can't be embedded.
            NotReadyError: the engine was stopped.
            OverloadedError: the call would wait too long, or past its deadline.
            ExpiredError: its deadline passed before it was computed.
            InferenceFailedError: ONNX Runtime failed.
        """
        preparation = self._preparation(
            len(inputs), _TEXTS_AT_ONCE, lambda part: model.prepare(inputs.part(part)), deadline
        )
        quick = len(inputs) == 1 and model.bytes_to_tokenize(inputs) <= _INLINE_BYTES
        return await self._embed(model, preparation, model.estimate(inputs), deadline, inline=quick)

    async def embed_images(self, model: ImageModel, inputs: ImageInputs, deadline: float = math.inf) -> Embeddings:
        """As `embed_texts`, for images."""
        preparation = self._preparation(
            len(inputs), _IMAGES_AT_ONCE, lambda part: model.prepare(inputs.part(part)), deadline
        )
        return await self._embed(model, preparation, len(inputs), deadline, inline=False)

    def _preparation(
        self, count: int, part_size: int, prepare: Callable[[slice], list[PreparedItem]], deadline: float
    ) -> Preparation:
        return Preparation(count, part_size, prepare, deadline, self.clock, lambda: self._stopped)

    async def _embed(
        self, model: AnyModel, preparation: Preparation, size: int, deadline: float, *, inline: bool
    ) -> Embeddings:
        if not size:
            raise InvalidInputError([Violation("inputs", "is empty")])
        if self._stopped:
            raise NotReadyError(_STOPPED)
        preparing = self._preparation_costs[model.name]
        work = self._costs[model.name].batch_seconds(size) + preparing.seconds * size
        received = self.clock()
        self._admission.admit(work, deadline, received)
        self._idle.clear()
        try:
            items = preparation.run() if inline else await self._prepare(model, preparation, size)
            prepared = self.clock()
            estimate, work = work, self._costs[model.name].batch_seconds(sum(item.size for item in items))
            self._admission.revise(estimate, work)
            call = await self._compute(model, items, deadline)
        finally:
            self._admission.release(work)
            if not self._admission.accepted:
                self._idle.set()
        timings = Timings(prepared - received, call.started - prepared, call.ended - call.started)
        return Embeddings(call.vectors, items, timings)

    async def _prepare(self, model: AnyModel, preparation: Preparation, size: int) -> list[PreparedItem]:
        """Preprocesses on a thread, and learns what that costs."""

        def prepare_and_measure() -> list[PreparedItem]:
            started = self.clock()
            items = preparation.run()
            self._preparation_costs[model.name].observe(size, self.clock() - started)
            return items

        try:
            return await self._loop.run_in_executor(self._preparing[model.manifest.modality], prepare_and_measure)
        finally:
            preparation.abandoned = True

    async def _compute(self, model: AnyModel, items: list[PreparedItem], deadline: float) -> Call:
        done: asyncio.Future[None] = self._loop.create_future()
        vectors = np.empty((len(items), model.manifest.dimensionality), dtype=np.float32)
        call = Call(vectors, deadline, on_end=lambda error: _resolve(done, error))
        work = [WorkItem(call, index, item.payload, item.size) for index, item in enumerate(items)]
        self._instances.submit(model.name, work)
        try:
            await done
        finally:
            call.abandon()
        return call

    def _store(self, outcome: Outcome) -> None:
        """Copies a batch's vectors to their calls. On the instance's thread."""
        if outcome.vectors is not None:
            for row, item in zip(outcome.vectors, outcome.batch.items, strict=True):
                item.call.vectors[item.index] = row
        self._loop.call_soon_threadsafe(self._settle, outcome)

    def _settle(self, outcome: Outcome) -> None:
        if outcome.error is None:
            self._costs[outcome.batch.model].observe(outcome.batch.padded_size, outcome.ended - outcome.started)
        for item in outcome.batch.items:
            if outcome.error is None:
                item.call.advance(item.index, outcome.started, outcome.ended)
            else:
                item.call.fail(_inference_failed(outcome))

    def _expire(self, items: list[WorkItem]) -> None:
        """Fails the calls whose deadlines passed in the queue. On an instance's thread."""
        for item in items:
            error = ExpiredError("the deadline passed while the work waited")
            self._loop.call_soon_threadsafe(item.call.fail, error)


def _batch_limits(model: AnyModel, settings: EngineSettings) -> BatchLimits:
    match model:
        case TextModel():
            return BatchLimits(settings.batch_tokens, padding=_PADDING_TOKENS)
        case ImageModel():
            return BatchLimits(settings.batch_images)


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
