"""Inputs put together into calls. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np

from vecserve_bench.distributions import BatchSizes
from vecserve_bench.inputs import MAX_BYTES

_VARIED_CALLS = 512  # enough that drawn sizes come about as often as they should
_DRAW = 256


@dataclass(frozen=True, slots=True)
class Batches:
    """The inputs of each call, in the order in which they are sent."""

    calls: Sequence[Sequence[bytes]]
    left_out: int
    """Inputs that no call has, for want of memory."""


def batches(items: Sequence[bytes], sizes: BatchSizes, seed: int = 0, max_bytes: int = MAX_BYTES) -> Batches:
    """Return calls that have every input at least once, and all sizes about as often as asked.

    Where the bytes of all calls would be too many, the last inputs are left out.
    """
    wanted = -(-len(items) // sizes.sizes[0]) if sizes.fixed else _VARIED_CALLS
    upcoming = cycle(items)
    calls: list[Sequence[bytes]] = []
    used = held = 0
    for size in _endless(sizes, seed):
        call = list(islice(upcoming, size))
        held += sum(map(len, call))
        if calls and held > max_bytes:
            break
        calls.append(call)
        used += size
        if len(calls) >= wanted and used >= len(items):
            break
    return Batches(calls, max(0, len(items) - used))


def _endless(sizes: BatchSizes, seed: int) -> Iterator[int]:
    random = np.random.default_rng(seed)
    while True:
        yield from sizes.draw(_DRAW, random)
