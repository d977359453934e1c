"""First runs of a model: they grow its memory, and show what its batches cost."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from vecserve_server.engine.cost import CostModel
from vecserve_server.models.manifest import ArtifactError
from vecserve_server.models.model import AnyModel

# Units of the items in measured batches: about a sentence.
_TYPICAL_SIZE = 16

# Of several runs the quickest counts: what slows the others down is not the model.
_RUNS = 3

# A larger batch than one that takes this long is not tried.
_LONG_SECONDS = 0.2


def measure(model: AnyModel, largest: int, clock: Callable[[], float]) -> CostModel:
    """Times one item, and the largest batch that is at most `largest` units and not too slow.

    Raises:
        ArtifactError: the graph fails on them, or computes what is not a number.
    """
    try:
        small = large = _timed(model, 1, clock)
        while large[1] < _LONG_SECONDS and 2 * large[0] <= largest:
            large = _timed(model, 2 * large[0] // small[0], clock)
    except Exception as error:  # ONNX Runtime's errors share no other base
        raise ArtifactError(f"model {model.name}: its first run failed: {error}") from error
    return CostModel.through(small, large)


def grow(model: AnyModel, size: int, at_once: int) -> None:
    """Runs `at_once` batches of about `size` units together, the most there will be, so that memory grows now.

    Otherwise it would at every busier moment than any before. Batches of long items need the most for attention, those
    of short ones for the rest.
    """
    with ThreadPoolExecutor(at_once) as threads:
        for item in (model.sample(size), model.sample(_TYPICAL_SIZE)):
            batches = [[item.payload] * max(1, size // item.size)] * (_RUNS * at_once)
            for _ in threads.map(model.run, batches):
                pass


def _timed(model: AnyModel, count: int, clock: Callable[[], float]) -> tuple[int, float]:
    """Units of a batch of `count` items, and its seconds."""
    item = model.sample(_TYPICAL_SIZE)
    payloads = [item.payload] * count
    if not np.isfinite(model.run(payloads)).all():
        raise ArtifactError("it computed a vector that is not finite")
    return count * item.size, min(_seconds(lambda: model.run(payloads), clock) for _ in range(_RUNS))


def _seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    started = clock()
    work()
    return clock() - started
