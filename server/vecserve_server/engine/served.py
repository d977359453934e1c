"""A model as the engine serves it: what its batches cost, whether it works, and who still uses it."""

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from vecserve_server.engine.batching import BatchPolicy
from vecserve_server.engine.circuit import Circuit
from vecserve_server.engine.errors import ModelFailingError
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.scheduler import Lane
from vecserve_server.engine.settings import EngineSettings
from vecserve_server.engine.warmup import grow, measure
from vecserve_server.models.model import AnyModel, TextModel


@dataclass(eq=False, slots=True)
class Served:
    """One loaded version of a model, for as long as calls may use it."""

    model: AnyModel
    lanes: Mapping[Priority, Lane]
    """Each priority learns its own costs: bulk batches take longer beside interactive ones."""
    circuit: Circuit
    calls: int = 0
    """Accepted calls that have not ended."""
    trial: asyncio.TimerHandle | None = None
    """What will try the model again, while its circuit is open."""
    unused: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever the last of its calls has ended."""

    def failing(self, now: float) -> ModelFailingError:
        """What callers are told while the model is out."""
        retry_after = self.circuit.retry_after(now)
        message = f"model '{self.model.name}' failed again and again, and is tried again in {retry_after:.0f} s"
        return ModelFailingError(message, retry_after)


def prepare(model: AnyModel, settings: EngineSettings, clock: Callable[[], float]) -> Served:
    """Warms a model up, checks what it computes and measures it, which takes seconds: call it on a thread.

    Raises:
        ArtifactError: the graph fails, or computes what is not a number.
    """
    largest = settings.batch_tokens if isinstance(model, TextModel) else settings.batch_images
    cost = measure(model, largest, clock)
    policy = BatchPolicy.of(cost, largest)
    weight = settings.weights.get(model.name, 1.0)
    lanes = {priority: Lane(policy, dataclasses.replace(cost), weight) for priority in Priority}
    return Served(model, lanes, Circuit(settings.max_failures))


def take_memory(served: Served, instances: int) -> None:
    """Takes the memory that the busiest moment will need; it takes seconds: call it on a thread."""
    policy = served.lanes[Priority.INTERACTIVE].policy
    size = min(policy.largest, 2 * policy.full)  # when what waits is no multiple of a full batch, see `budget`
    grow(served.model, size, instances * len(Priority))
