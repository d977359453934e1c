"""First runs of a model: they grow its memory, and show what its batches cost."""

from collections.abc import Callable

from vecserve_server.engine.cost import CostModel
from vecserve_server.models.manifest import ArtifactError
from vecserve_server.models.model import AnyModel

# Units of the items in measured batches: about a sentence.
_TYPICAL_SIZE = 16


def measure(model: AnyModel, full_size: int, clock: Callable[[], float]) -> CostModel:
    """Runs one item and a batch of about `full_size` units, each once to warm up and once to be timed.

    Raises:
        ArtifactError: the graph fails on them.
    """
    item = model.sample(_TYPICAL_SIZE)
    try:
        small = _timed(model, 1, clock)
        full = _timed(model, max(1, full_size // item.size), clock)
    except Exception as error:  # ONNX Runtime's errors share no other base
        raise ArtifactError(f"model {model.name}: its first run failed: {error}") from error
    return CostModel.through(small, full)


def _timed(model: AnyModel, count: int, clock: Callable[[], float]) -> tuple[int, float]:
    item = model.sample(_TYPICAL_SIZE)
    payloads = [item.payload] * count
    model.run(payloads)
    started = clock()
    model.run(payloads)
    return count * item.size, clock() - started
