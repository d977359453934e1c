"""First runs of a model: they grow its memory, and show what its batches cost."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from vecserve_server.engine.cost import CostModel
from vecserve_server.models.inputs import PreparedItem
from vecserve_server.models.manifest import ArtifactError
from vecserve_server.models.model import AnyModel

# Units of the items in measured batches: about a sentence.
_TYPICAL_SIZE = 16

# A small and a large batch are run in turn so many times: what the machine does beside slows both down, and the median
# of what they tell of a run's fixed cost does not follow single moments. Of runs of the small one the quickest counts:
# the first after a large one finds none of its weights in the processor's caches.
_TURNS = 3
_SMALL_RUNS = 3

_GROWING_RUNS = 3

# A larger batch than one that takes this long is not tried.
_LONG_SECONDS = 0.2


def measure(model: AnyModel, largest: int, clock: Callable[[], float]) -> CostModel:
    """Times one item, and the largest batch that is at most `largest` units and not too slow.

    Raises:
        ArtifactError: the graph fails on them, or computes what is not a number.
    """
    item = model.sample(_TYPICAL_SIZE)
    try:
        count, seconds = 1, _first(model, item, 1, clock)
        while seconds < _LONG_SECONDS and 2 * count * item.size <= largest:
            count *= 2
            seconds = _first(model, item, count, clock)
        if count == 1:
            return CostModel.through((item.size, seconds), (item.size, seconds))
        turns = [_turn(model, item, count, clock) for _ in range(_TURNS)]
    except Exception as error:  # ONNX Runtime's errors share no other base
        raise ArtifactError(f"model {model.name}: its first run failed: {error}") from error
    return sorted(turns, key=lambda cost: cost.fixed / (cost.batch_seconds(1) or math.inf))[_TURNS // 2]


def grow(model: AnyModel, size: int, at_once: int) -> None:
    """Runs `at_once` batches of about `size` units together, the most there will be, so that memory grows now.

    Otherwise it would at every busier moment than any before. Batches of long items need the most for attention, those
    of short ones for the rest. A batch that runs alone is of one item, or few: more are spread over instances.
    """
    with ThreadPoolExecutor(at_once) as threads:
        for item in (model.sample(size), model.sample(_TYPICAL_SIZE)):
            batches = [[item.payload] * max(1, size // item.size)] * (_GROWING_RUNS * at_once)
            for _ in threads.map(model.run, batches):
                pass
    if model.is_faster_alone:
        for _ in range(_GROWING_RUNS):
            model.run([model.sample(size).payload], alone=True)


def _first(model: AnyModel, item: PreparedItem, count: int, clock: Callable[[], float]) -> float:
    """Seconds of the second run of a batch of `count` items, as the first grows memory."""
    if not np.isfinite(model.run([item.payload] * count)).all():
        raise ArtifactError("it computed a vector that is not finite")
    return _timed(model, item, count, clock)


def _turn(model: AnyModel, item: PreparedItem, count: int, clock: Callable[[], float]) -> CostModel:
    """What one item and `count` of them tell."""
    small = min(_timed(model, item, 1, clock) for _ in range(_SMALL_RUNS))
    return CostModel.through((item.size, small), (count * item.size, _timed(model, item, count, clock)))


def _timed(model: AnyModel, item: PreparedItem, count: int, clock: Callable[[], float]) -> float:
    started = clock()
    model.run([item.payload] * count)
    return clock() - started
