"""The way of a call through the engine: admit, preprocess, queue, run, collect."""

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecserve_server.engine.admission import DeadlineUnmetError, LeastWork, refusal
from vecserve_server.engine.catalog import Catalog
from vecserve_server.engine.computing import STOPPED, Computing
from vecserve_server.engine.errors import (
    InferenceFailedError,
    InvalidInputError,
    ModelNotFoundError,
    NotReadyError,
    OverloadedError,
    Violation,
)
from vecserve_server.engine.instances import Load
from vecserve_server.engine.observer import Observer, Refusal
from vecserve_server.engine.preprocessing import Preprocessing
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.room import Room
from vecserve_server.engine.rows import unpack
from vecserve_server.engine.served import Served, prepare
from vecserve_server.engine.settings import EngineSettings
from vecserve_server.engine.terms import Terms
from vecserve_server.engine.timings import Timings
from vecserve_server.engine.together import Together
from vecserve_server.models.inputs import AnyImageInputs, AnyInputs, AnyTextInputs, PreparedItem
from vecserve_server.models.model import AnyModel, ImageModel, TextModel

# About how many tokens a call's texts may have, prompts included, to be tokenized on the event loop, which mostly takes
# half a millisecond; each text takes as long as some tokens beside. The way to a thread and back alone takes 0.2 ms of
# the processor's time, and on a busy server 2 ms. Bulk work that takes longer than that way stays off the event loop.
_INLINE_TOKENS = {Priority.INTERACTIVE: 640, Priority.BULK: 128}
_TOKENS_OF_A_TEXT = 4

# Of a call that was refused before it was read.
_NO_MODEL = ""

_Prepare = Callable[[Served, AnyInputs, int, Terms], Coroutine[Any, Any, list[PreparedItem]]]
"""Preprocesses the inputs of a call, of about so many units."""


@dataclass(slots=True)
class Embeddings:
    """What a call gets."""

    rows: Sequence[bytes | memoryview]
    """The vector of each input: `(dimensionality,)` float32, its bytes in little-endian order.

    Normalized if the terms say so.
    """
    items: list[PreparedItem]
    """What became of each input."""
    timings: Timings

    @property
    def vectors(self) -> NDArray[np.float32]:
        """`(inputs, dimensionality)`."""
        return unpack(self.rows)


class Engine:
    """Embeds inputs with the models of a catalog, which may be replaced while it does.

    It belongs to the event loop on which it was started; batches and preprocessing run on threads of their own.
    """

    def __init__(
        self,
        catalog: Catalog,
        settings: EngineSettings,
        clock: Callable[[], float] = time.monotonic,
        observer: Observer | None = None,
    ) -> None:
        """Warms up and measures every model of the catalog, which takes seconds: call it on a thread."""
        self.catalog = catalog
        self.clock = clock
        self.settings = settings
        self.on_change: Callable[[], None] = lambda: None
        """Called on the event loop when models come, go, fail or work again."""
        self._observer = observer or Observer()
        self._preprocessing = Preprocessing(settings.preprocessing_threads, clock)
        # Predicted seconds of each call that is being preprocessed: a running sum would keep what was rounded off, and
        # an idle engine would have calls wait.
        self._preparing: dict[Priority, list[float]] = {priority: [] for priority in Priority}
        # One for each priority, or interactive calls would wait until much bulk work is preprocessed.
        self._together = {priority: Together(self._offer_room) for priority in Priority}
        self._computing = Computing(settings, clock, self._observer, self._offer_room, self._change)
        self._served: dict[AnyModel, Served] = {}
        # One for each priority, or interactive calls would wait behind bulk ones.
        self._rooms = {priority: Room() for priority in Priority}
        self._least_work = {priority: LeastWork() for priority in Priority}
        self._accepted = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopped = False
        for model in catalog:
            self.open(prepare(model, settings, clock))

    def start(self) -> None:
        """Starts the instances; calls are answered on the running event loop from now on."""
        self._computing.start()

    def open(self, served: Served) -> None:
        """Takes calls for a model that was prepared for these settings; the catalog has to name it to callers."""
        self._served[served.model] = served
        self._computing.open(served)
        self._observer.loaded(served.model)

    async def retire(self, model: AnyModel) -> None:
        """Forgets a model that the catalog names no more, after the calls that found it before have ended."""
        served = self._served[model]
        while served.calls:
            served.unused.clear()
            await served.unused.wait()
        del self._served[model]
        self._computing.close(served)
        self._observer.unloaded(model)

    def replace_catalog(self, catalog: Catalog) -> None:
        """Has calls find the models of this catalog from now on; all of them have to be open."""
        self.catalog = catalog
        self.on_change()

    def served(self, model: AnyModel) -> Served:
        """What is known of a model of the catalog: its lanes, and whether it works."""
        return self._served[model]

    @property
    def exhausted(self) -> bool:
        """Whether instances hang that can't be replaced, so that nothing is computed any more."""
        return self._computing.exhausted

    def works(self, model: AnyModel) -> bool:
        """Whether calls of a model of the catalog are answered, as far as is known."""
        return not self.exhausted and not self._served[model].circuit.is_open

    def load(self) -> Load:
        """What waits and runs now. From any thread."""
        return self._computing.load()

    async def idle(self) -> None:
        """Waits until every accepted call has ended."""
        await self._idle.wait()

    async def stop(self) -> None:
        """Ends the threads after the batches that run; calls that still wait fail."""
        self._stopped = True
        await self._computing.stop()
        self._offer_room()
        self._preprocessing.stop()

    def embed_texts(self, model: TextModel, inputs: AnyTextInputs, terms: Terms) -> Coroutine[Any, Any, Embeddings]:
        """Embeds texts.

        Raises:
            InvalidInputError: there are none.
            InvalidItemsError: names the inputs that can't be embedded.
            NotReadyError: the engine was stopped.
            OverloadedError: the call would wait too long, or past its deadline.
            ExpiredError: its deadline passed before it was computed.
            InferenceFailedError: ONNX Runtime failed, or did not come to an end.
            ModelFailingError: it did so again and again.
            ModelNotFoundError: the model was unloaded.
        """
        size = model.estimate(inputs)
        effort = model.tokens_to_find(inputs) + _TOKENS_OF_A_TEXT * len(inputs)
        if effort > _INLINE_TOKENS[terms.priority]:
            return self._embed(model, inputs, size, terms, self._prepare)
        return self._embed(model, inputs, size, terms, partial(self._prepare_inline, effort=effort))

    def embed_images(self, model: ImageModel, inputs: AnyImageInputs, terms: Terms) -> Coroutine[Any, Any, Embeddings]:
        """As `embed_texts`, for images."""
        return self._embed(model, inputs, len(inputs), terms, self._prepare)

    def refusal(self, priority: Priority, patience: float, coming: int = 0) -> OverloadedError | None:
        """Why a call that comes now is refused, even if it asks for as little as any of the latest did.

        None if it may be accepted. `patience` is how many seconds its caller waits; `coming` calls like it, which were
        not refused, are on their way to the engine.
        """
        least, wait = self._least_work[priority], self._wait(priority)
        if wait:
            wait += coming * least.queued / self.settings.instances
        error = refusal(wait, least.within(patience), patience, self.settings.max_queue_seconds)
        if error:
            self.refuse_alike(priority, error)
        return error

    def refuse_alike(self, priority: Priority, error: OverloadedError) -> None:
        """Takes note of one more call that is refused as `refusal` said of another."""
        self._least_work[priority].refused()
        self._observer.refused(_NO_MODEL, _reason(error))

    async def _embed(
        self, model: AnyModel, inputs: AnyInputs, size: int, terms: Terms, prepare_items: _Prepare
    ) -> Embeddings:
        if not size:
            raise InvalidInputError([Violation("inputs", "is empty")])
        served = self._served.get(model)
        if served is None:
            raise ModelNotFoundError(model.name, f"model '{model.reference}' was unloaded")
        progress = terms.progress
        progress.received = received = self.clock()
        self._enter(served)
        try:
            await self._admit(served, inputs, size, terms)
            items = await prepare_items(served, inputs, size, terms)
            progress.prepared = prepared = self.clock()
            self._require_working(served)
            call = await self._computing.compute(served, items, terms)
        except BaseException:
            self._observer.unanswered(model.name, self.clock() - received)
            raise
        finally:
            self._leave(served)
        progress.started, progress.ended = call.started, call.ended
        timings = Timings(
            prepared - received, call.started - prepared, call.ended - call.started, self.clock() - call.ended
        )
        self._observer.answered(model.name, timings)
        return Embeddings(call.rows, items, timings)

    def _enter(self, served: Served) -> None:
        self._accepted += 1
        self._idle.clear()
        served.calls += 1

    def _leave(self, served: Served) -> None:
        served.calls -= 1
        if not served.calls:
            served.unused.set()
        self._accepted -= 1
        self._offer_room()
        if not self._accepted:
            self._idle.set()

    async def _admit(self, served: Served, inputs: AnyInputs, size: int, terms: Terms) -> None:
        """Returns when the call may begin; at once, unless it waits for room."""
        lane = served.lanes[terms.priority]
        cost = lane.cost
        spread = min(len(inputs), self.settings.instances)
        share = size if spread == 1 else math.ceil(size / spread)
        work = cost.batch_seconds(share) + self._preprocessing.seconds(served.model, inputs, size)
        self._least_work[terms.priority].observe(work, lane.queued_seconds(size))
        if terms.waits_for_room:
            await self._rooms[terms.priority].enter(lambda: self._fits(served, work, terms))
        else:
            self._fits(served, work, terms)

    def _fits(self, served: Served, work: float, terms: Terms) -> bool:
        """Whether the call may begin; False if it has to wait for room."""
        if self._stopped:
            raise NotReadyError(STOPPED)
        self._require_working(served)
        patience = terms.deadline - self.clock()
        error = refusal(self._wait(terms.priority), work, patience, self.settings.max_queue_seconds)
        if error is None:
            return True
        reason = _reason(error)
        if reason is Refusal.QUEUE_FULL and terms.waits_for_room:
            return False
        self._observer.refused(served.model.name, reason)
        try:
            raise error
        finally:
            del error  # its traceback leads back here

    def _require_working(self, served: Served) -> None:
        if served.circuit.is_open:
            self._observer.refused(served.model.name, Refusal.MODEL_FAILING)
            raise served.failing(self.clock())

    def _change(self) -> None:
        self._offer_room()
        self.on_change()

    def _offer_room(self) -> None:
        for room in self._rooms.values():
            room.offer()

    def _wait(self, priority: Priority) -> float:
        """Seconds until the work of a call that came now would begin."""
        preparing = 0.0
        for level in priority.ahead:
            if self._preparing[level]:
                preparing += sum(self._preparing[level])
            preparing += self._together[level].work()
        return self._computing.wait(priority, preparing)

    def _prepare_inline(
        self, served: Served, inputs: AnyInputs, size: int, terms: Terms, *, effort: int
    ) -> Coroutine[Any, Any, list[PreparedItem]]:
        """Preprocesses on the event loop, together with others."""
        work = served.lanes[terms.priority].queued_seconds(size)
        return self._together[terms.priority].prepare(served.model, inputs, effort, work)

    async def _prepare(self, served: Served, inputs: AnyInputs, size: int, terms: Terms) -> list[PreparedItem]:
        """Preprocesses on a thread; meanwhile the call counts as work to come."""
        cost = served.lanes[terms.priority].cost
        work = cost.batch_seconds(size) + self._preprocessing.seconds(served.model, inputs, size)
        preparing = self._preparing[terms.priority]
        preparing.append(work)
        try:
            async with asyncio.timeout(self.settings.run_timeout_seconds):
                return await self._preprocessing.prepare(served.model, inputs, size, terms)
        except TimeoutError as error:
            limit = self.settings.run_timeout_seconds
            raise InferenceFailedError(f"the inputs were not preprocessed within {limit:g} s") from error
        finally:
            preparing.remove(work)


def _reason(error: OverloadedError) -> Refusal:
    return Refusal.DEADLINE if isinstance(error, DeadlineUnmetError) else Refusal.QUEUE_FULL
