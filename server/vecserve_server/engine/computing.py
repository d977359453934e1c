"""The way of prepared items through queue and instances, and what keeps it open when runs fail or hang."""

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Hashable, Sequence
from functools import partial

from vecserve_server.engine.call import Call, WorkItem
from vecserve_server.engine.cost import Average
from vecserve_server.engine.errors import EngineError, ExpiredError, InferenceFailedError, NotReadyError
from vecserve_server.engine.instances import Instances, Load, Outcome
from vecserve_server.engine.observer import Drop, Observer
from vecserve_server.engine.outcomes import Outcomes, Stored
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.scheduler import Scheduler
from vecserve_server.engine.served import Served
from vecserve_server.engine.settings import EngineSettings
from vecserve_server.engine.terms import Terms
from vecserve_server.engine.waking import Waker
from vecserve_server.models.inputs import PreparedItem

logger = logging.getLogger(__name__)

STOPPED = "the server stopped before the work was done"

# How often instances are looked after, or four times in a run's timeout if that is shorter.
_LOOK_SECONDS = 1.0


class Computing:
    """Computes prepared items of the models that were opened. Belongs to one event loop."""

    def __init__(
        self,
        settings: EngineSettings,
        clock: Callable[[], float],
        observer: Observer,
        on_progress: Callable[[], None],
        on_change: Callable[[], None],
    ) -> None:
        """Prepares it; `on_progress` is called when work has ended, `on_change` when a model fails or is back."""
        self._settings = settings
        self._clock = clock
        self._observer = observer
        self._on_progress = on_progress
        self._on_change = on_change
        self._served: dict[Hashable, Served] = {}
        self._calls: set[Call] = set()
        # How late the event loop takes note of what has happened, when it has too much to do itself.
        self._lag = Average()
        self._looking: asyncio.TimerHandle | None = None
        self._outcomes = Outcomes(self._settle, self._wake)
        self._instances = Instances(
            Scheduler(),
            {},
            settings.instances,
            on_outcome=self._take_note,
            on_dropped=self._expire,
            on_death=self._bury,
            clock=clock,
            run_timeout=settings.run_timeout_seconds,
        )

    @property
    def exhausted(self) -> bool:
        """Whether instances hang that can't be replaced, so that nothing is computed any more."""
        return self._instances.exhausted

    def load(self) -> Load:
        """What waits and runs now. From any thread."""
        return self._instances.load()

    def open(self, served: Served) -> None:
        """Computes items of this model from now on."""
        self._served[served.model] = served
        self._instances.open(served.model, served.model.name, served.model, served.lanes)

    def close(self, served: Served) -> None:
        """Forgets a model that no call uses any more; at most a trial still waits."""
        del self._served[served.model]
        left = self._instances.close(served.model)
        self._observer.dropped(served.model.name, Drop.MODEL_FAILING, len(left))
        if served.trial:
            served.trial.cancel()

    def start(self) -> None:
        """Starts the instances, which tell of their work on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._waker = Waker(busy=self._settings.instances)
        self._instances.start()
        self._look()

    async def stop(self) -> None:
        """Ends the threads after the batches that run; calls that still wait fail."""
        if self._looking:
            self._looking.cancel()
        self._outcomes.settle_all()
        left = await asyncio.to_thread(self._instances.stop)
        self._outcomes.settle_all()
        for model, items in left.items():
            self._observer.dropped(model, Drop.STOPPED, len(items))
            for item in items:
                item.call.fail(NotReadyError(STOPPED))
        for served in self._served.values():
            if served.trial:
                served.trial.cancel()

    def wait(self, priority: Priority, preparing: float) -> float:
        """Seconds until the work of a call that came now would begin, `preparing` seconds of other work being ahead."""
        wait = self._instances.wait(priority) + preparing / self._settings.instances
        return wait + self._lag.seconds if wait else 0.0

    async def compute(self, served: Served, items: Sequence[PreparedItem], terms: Terms) -> Call:
        """Computes the vectors of one call.

        Raises:
            NotReadyError, ExpiredError, InferenceFailedError, ModelFailingError: see `Engine.embed_texts`.
        """
        done: asyncio.Future[None] = self._loop.create_future()
        call, work = _call(items, terms, partial(_resolve, done))
        self._instances.submit(served.model, terms.priority, work)
        self._calls.add(call)
        try:
            await done
        except BaseException as error:
            call.abandon()
            withdrawn = self._instances.withdraw(served.model, terms.priority, work)
            reason = Drop.EXPIRED if isinstance(error, ExpiredError) else Drop.CANCELLED
            self._observer.dropped(served.model.name, reason, withdrawn)
            raise
        finally:
            self._calls.discard(call)
            call.on_end = _ignore
            del done  # an error's traceback leads here, and it to the error
        return call

    def _take_note(self, outcome: Outcome) -> None:
        """On the instance's thread."""
        try:
            late = 0
            if outcome.vectors is not None:
                late = sum(item.call.deadline < outcome.ended for item in outcome.batch.items)
            self._observer.ran(outcome.batch, outcome.ended - outcome.started, late, failed=outcome.error is not None)
        except Exception as error:
            outcome = dataclasses.replace(outcome, error=outcome.error or error)
            raise
        finally:
            self._outcomes.store(outcome, partial(self._instances.next_end, outcome.batch))

    def _wake(self, outcome: Outcome) -> None:
        """Has the event loop take note of an outcome. On the instance's thread."""
        wake = partial(self._loop.call_soon_threadsafe, self._outcomes.settle_all)
        if self._instances.leaves_a_core(outcome.batch.priority):
            self._waker.wake_here(wake)
        else:
            wake()

    def _settle(self, stored: Stored) -> None:
        """Tells calls what has become of their items."""
        outcome = stored.outcome
        batch, error = outcome.batch, outcome.error
        if not stored.waited:
            self._lag.observe(1, self._clock() - outcome.ended)
        served = self._served.get(batch.key)
        # One that had all cores tells nothing of those that share them.
        if served and error is None and not (batch.alone and served.model.is_faster_alone):
            served.lanes[batch.priority].cost.observe(batch.padded_size, outcome.ended - outcome.started)
        if error is not None:
            for item in batch.items:
                item.call.fail(_inference_failed(outcome))
        for item in stored.not_finite:
            item.call.fail(InferenceFailedError(f"the vector of input {item.index} is not finite"))
        for call in stored.complete:
            call.succeed()
        if served:
            self._judge(served, succeeded=error is None and len(stored.not_finite) < len(batch.items))
        self._on_progress()

    def _judge(self, served: Served, *, succeeded: bool) -> None:
        """Takes a model out that fails again and again, and back in when it works."""
        if succeeded:
            if served.circuit.succeeded():
                logger.warning("model %s works again", served.model.reference)
                self._on_change()
        elif served.circuit.failed(self._clock()):
            self._take_out(served)

    def _take_out(self, served: Served) -> None:
        """Refuses the calls of a model until a trial succeeds; those that wait fail now, or each would fail a run."""
        delay = served.circuit.retry_after(self._clock())
        logger.error(
            "model %s failed again and again: it is out, and tried again in %g s", served.model.reference, delay
        )
        waiting = self._instances.clear(served.model)
        self._observer.dropped(served.model.name, Drop.MODEL_FAILING, len(waiting))
        for item in waiting:
            item.call.fail(served.failing(self._clock()))
        if served.trial:
            served.trial.cancel()
        served.trial = self._loop.call_later(delay, self._try, served)
        self._on_change()

    def _try(self, served: Served) -> None:
        """Runs one made-up item, whose outcome is judged as any other."""
        _, work = _call([served.model.sample(1)], Terms(), _ignore)
        try:
            self._instances.submit(served.model, Priority.INTERACTIVE, work)
        except NotReadyError:  # nothing is computed at all
            served.trial = self._loop.call_later(_LOOK_SECONDS, self._try, served)

    def _look(self) -> None:
        """Looks after the instances, now and from now on."""
        interval = min(_LOOK_SECONDS, self._settings.run_timeout_seconds / 4)
        self._looking = self._loop.call_later(interval, self._look)
        was_exhausted = self.exhausted
        self._outcomes.settle_all()  # in case that the batch for which others waited hangs
        for model, items in self._instances.look_after().items():
            self._observer.dropped(model, Drop.STOPPED, len(items))
            for item in items:
                item.call.fail(NotReadyError("every instance of the server hangs: it has to be started anew"))
        if self.exhausted is not was_exhausted:
            self._on_change()

    def _expire(self, model: str, items: list[WorkItem]) -> None:
        """Fails the calls whose deadlines passed in the queue. On an instance's thread."""
        expired = [item for item in items if not item.call.abandoned]
        for call in {item.call for item in expired}:
            error = ExpiredError("the deadline passed while the work waited")
            self._loop.call_soon_threadsafe(call.fail, error)
        self._observer.dropped(model, Drop.EXPIRED, len(expired))
        self._observer.dropped(model, Drop.CANCELLED, len(items) - len(expired))

    def _bury(self, error: BaseException) -> None:
        """Fails every call: any may have lost an item with the instance that died."""
        self._loop.call_soon_threadsafe(self._fail_all, error)

    def _fail_all(self, cause: BaseException) -> None:
        self._outcomes.settle_all()
        for call in list(self._calls):
            call.fail(InferenceFailedError("an instance died", cause))


def _call(
    items: Sequence[PreparedItem], terms: Terms, on_end: Callable[[EngineError | None], None]
) -> tuple[Call, list[WorkItem]]:
    call = Call([b""] * len(items), on_end, terms.deadline, terms.normalized, trace=terms.progress.trace)
    return call, [WorkItem(call, index, item.payload, item.size) for index, item in enumerate(items)]


def _ignore(error: EngineError | None) -> None:
    pass


def _inference_failed(outcome: Outcome) -> InferenceFailedError:
    batch = outcome.batch
    message = f"a batch of {len(batch.items)} items for model {batch.model} failed"
    return InferenceFailedError(message, outcome.error)


def _resolve(done: asyncio.Future[None], error: EngineError | None) -> None:
    if done.done():  # the caller was cancelled
        return
    if error:
        done.set_exception(error)
    else:
        done.set_result(None)
