"""What each model has done since the server started, in sums that a client takes differences of."""

import copy
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from vecserve_server.engine.observer import Observer
from vecserve_server.engine.scheduler import Batch
from vecserve_server.engine.timings import Timings


@dataclass(slots=True)
class Duration:
    """How often something happened, and how long it took in all."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Takes note that it happened once more."""
        self.count += 1
        self.seconds += seconds


@dataclass(slots=True)
class ModelStatistics:
    """What one model has done."""

    last_call: float = 0.0
    """When a call last ended, in seconds since 1970; 0 if none has."""
    items: int = 0
    """Inputs that were computed."""
    answered: Duration = field(default_factory=Duration)
    """Calls that got their vectors."""
    unanswered: Duration = field(default_factory=Duration)
    """Calls that did not."""
    preprocess: Duration = field(default_factory=Duration)
    """Of calls that were answered, as are the next three."""
    queue: Duration = field(default_factory=Duration)
    infer: Duration = field(default_factory=Duration)
    output: Duration = field(default_factory=Duration)
    batches: defaultdict[int, Duration] = field(default_factory=lambda: defaultdict(Duration))
    """Runs of the graph that did not fail, by their number of inputs."""


class Statistics(Observer):
    """An observer that sums up. Thread-safe."""

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._models: defaultdict[str, ModelStatistics] = defaultdict(ModelStatistics)

    def of(self, model: str) -> ModelStatistics:
        """What the model has done until now, which no longer changes."""
        with self._lock:
            return copy.deepcopy(self._models[model])

    def ran(self, batch: Batch, seconds: float, late: int, *, failed: bool) -> None:  # noqa: ARG002 (counted elsewhere)
        if failed:
            return
        with self._lock:
            model = self._models[batch.model]
            model.items += len(batch.items)
            model.batches[len(batch.items)].add(seconds)

    def answered(self, model: str, timings: Timings) -> None:
        with self._lock:
            known = self._models[model]
            known.last_call = self._wall_clock()
            known.answered.add(timings.total)
            known.preprocess.add(timings.preprocess)
            known.queue.add(timings.queue)
            known.infer.add(timings.infer)
            known.output.add(timings.output)

    def unanswered(self, model: str, seconds: float) -> None:
        with self._lock:
            known = self._models[model]
            known.last_call = self._wall_clock()
            known.unanswered.add(seconds)
