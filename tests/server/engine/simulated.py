"""An event loop on a simulated clock, and the engine's instances and models as callbacks of it."""

import asyncio
import selectors
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from vecserve_server.engine.cost import CostModel
from vecserve_server.engine.instances import ENDING_SECONDS, Instances
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.resting import Resting
from vecserve_server.engine.seat import Seat
from vecserve_server.models.inputs import AnyTextInputs, InvalidItemsError, Prepared, PreparedItem, TextInputs
from vecserve_server.models.manifest import Manifest
from vecserve_server.models.model import TextModel

T = TypeVar("T")


class StandstillError(Exception):
    """Something waits, and nothing will ever happen."""


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Jumps to its next timer where another loop would sleep. Threads take the time that they say they spend."""

    def __init__(self, lag: float = 0.0) -> None:
        """Threads go on `lag` seconds after they have told of something."""
        self.lag = lag
        self.on_quiet: Callable[[], object] = lambda: None
        """Called when there is nothing left to do at this time."""
        self._now = self._ahead = 0.0
        self._aside = False
        super().__init__(_Jumping(self))

    def time(self) -> float:
        return self._now + self._ahead

    def jump(self, seconds: float | None) -> None:
        if seconds is None:
            raise StandstillError
        if seconds > 0:
            self.on_quiet()
            self._now += seconds

    def spend(self, seconds: float) -> None:
        """Lets time pass for the thread that calls, be it the loop's."""
        seconds = float(seconds)  # NumPy's would spread
        if self._aside:
            self._ahead += seconds
        else:
            self._now += seconds

    def aside(self, work: Callable[[], T]) -> tuple[T, float]:
        """Does what another thread would: returns the result, and the seconds that it took that thread."""
        self._aside = True
        try:
            return work(), self._ahead
        finally:
            self._aside, self._ahead = False, 0.0

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: Any, context: Any = None) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()

        def work() -> Callable[[], None]:
            try:
                result = func(*args)
            except Exception as error:
                failure = error  # `error` is unbound when this block ends
                return lambda: future.set_exception(failure)
            return lambda: future.set_result(result)

        resolve, seconds = self.aside(work)
        self.call_later(seconds, lambda: None if future.done() else resolve())
        return future


class _Jumping(selectors.SelectSelector):
    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._loop.jump(timeout)
        return []


class SimulatedInstances(Instances):
    """Instances whose threads are callbacks of a simulated loop."""

    def __init__(self, loop: SimulatedLoop, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.loop = loop
        self.resting: dict[Priority, list[Seat]] = {priority: [] for priority in Priority}
        self.running = 0
        self._resting = {priority: _Waking(self._lock, loop, self._wake, priority) for priority in Priority}
        self._ends: dict[Seat, float] = {}
        """When the threads that run something will be done with it."""
        self._ended: set[Seat] = set()

    def _start(self, seat: Seat, name: str) -> None:
        self.running += 1
        self.loop.call_soon(self._go_on, seat)

    def _is_alive(self, seat: Seat) -> bool:
        return seat not in self._ended

    def _runs(self, seat: Seat) -> bool:
        return seat.batch is not None and self._ends[seat] > self.loop.time()

    def _join(self, seats: Sequence[Seat]) -> None:
        """Takes the time until they are done, or have waited long enough."""
        now = self.loop.time()
        left = [self._ends[seat] - now for seat in seats if seat.batch]
        self.loop.spend(max([0.0, *(min(seconds, ENDING_SECONDS) for seconds in left)]))

    def _go_on(self, seat: Seat) -> None:
        self.running -= 1
        with self._lock:
            self._rest(seat)
        self._look(seat)

    def _wake(self, priority: Priority) -> None:
        if self.resting[priority]:
            self._look(self.resting[priority].pop())

    def _look(self, seat: Seat) -> None:
        try:
            with self._lock:
                batch = None if self._stopping else self._take(seat)
        except Exception as error:
            self._ended.add(seat)
            self._die(seat, error)
            return
        if batch is None:
            self.resting[seat.priority].append(seat)
            return
        self.running += 1
        outcome, seconds = self.loop.aside(lambda: self._run(seat, batch))
        self._ends[seat] = outcome.ended

        def end() -> None:
            del self._ends[seat]
            if self._tell(seat, outcome):
                self.loop.call_later(self.loop.lag, self._go_on, seat)
            else:
                self.running -= 1
                self._ended.add(seat)

        self.loop.call_later(seconds, end)


class _Waking(Resting):
    """Wakes callbacks where threads would rest."""

    def __init__(self, lock: Any, loop: SimulatedLoop, wake: Callable[[Priority], None], priority: Priority) -> None:
        super().__init__(lock)
        self._loop, self._wake, self._priority = loop, wake, priority

    def wake_one(self) -> None:
        self._loop.call_soon(self._wake, self._priority)


class SimulatedModel(TextModel):
    """Embeds texts of the form `<number> <tokens>` as vectors of their numbers; no tokens are no text.

    What runs and preprocessing take is spent on the loop's clock; a run alone takes half as long.
    """

    def __init__(self, name: str, manifest: Manifest, loop: SimulatedLoop, cost: CostModel, version: str = "1") -> None:
        self.name, self.version, self.manifest = name, version, manifest
        self.is_faster_alone = True
        self.runs: Iterator[tuple[float, bool]] | None = None
        """How much slower each run is than its cost, and whether it fails; as its cost, and never, if not set."""
        self._loop = loop
        self._cost = cost

    def estimate(self, inputs: AnyTextInputs) -> int:
        return sum(max(1, item.size) for item in _parsed(inputs))

    def sample(self, size: int) -> PreparedItem:
        return PreparedItem(np.array([0, size]), size)

    def prepare_all(self, calls: Sequence[AnyTextInputs]) -> list[Prepared]:
        return [self._prepare(inputs) for inputs in calls]

    def _prepare(self, inputs: AnyTextInputs) -> Prepared:
        items = _parsed(inputs)
        self._loop.spend(1e-4 * sum(item.size for item in items))
        problems = {index: "is empty" for index, item in enumerate(items) if not item.size}
        return InvalidItemsError(problems) if problems else items

    def terminate(self, thread: int) -> None: ...

    def run(self, payloads: Sequence[NDArray[Any]], *, alone: bool = False) -> NDArray[np.float32]:
        slowness, fails = next(self.runs) if self.runs else (1.0, False)
        numbers, sizes = np.array(payloads).T
        seconds = self._cost.batch_seconds(len(sizes) * sizes.max())
        self._loop.spend(slowness * (seconds / 2 if alone else seconds))
        if fails:
            raise RuntimeError("failed")
        return np.repeat(numbers[:, np.newaxis], self.manifest.dimensionality, axis=1).astype(np.float32)


def _parsed(inputs: AnyTextInputs) -> list[PreparedItem]:
    assert isinstance(inputs, TextInputs)
    pairs = [tuple(map(int, text.split())) for text in inputs.texts]
    return [PreparedItem(np.array([number, size]), size) for number, size in pairs]
