"""Where a load stands while it runs. Pure."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

BUCKET_WIDTH: Final = 1.05
"""Latencies from one bucket's lower bound to the next, a ratio: a percentile from buckets is off by 2.5 % at most."""

_LOWEST = 1e-6  # seconds; the first bucket's lower bound


@dataclass(frozen=True, slots=True)
class Progress:
    """One load of one process at one moment."""

    elapsed: float
    """Seconds since the window's start; negative in the warm-up."""
    ended: int
    """Calls of the whole run that have ended."""
    ok: int
    """Those of them that were OK."""
    in_flight: int
    latencies: Mapping[int, int]
    """Measured calls since the report before, by the bucket of their latency."""


def latency_buckets(latencies: npt.NDArray[np.float64]) -> dict[int, int]:
    """Return how many latencies, in seconds, are in each bucket of `BUCKET_WIDTH`."""
    places = np.log(np.maximum(latencies, _LOWEST) / _LOWEST) / math.log(BUCKET_WIDTH)
    buckets, counts = np.unique(places.astype(np.int64), return_counts=True)
    return dict(zip(buckets.tolist(), counts.tolist(), strict=True))


def merge_buckets(parts: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """Return the counts of several loads together."""
    merged: Counter[int] = Counter()
    for part in parts:
        merged.update(part)
    return dict(merged)


def bucket_percentile(buckets: Mapping[int, int], point: float) -> float:
    """Return the middle, in seconds, of the bucket that holds a percentile (0 to 100); NaN where all are empty."""
    rank = math.ceil(sum(buckets.values()) * point / 100)
    reached = 0
    for bucket in sorted(buckets):
        reached += buckets[bucket]
        if reached >= rank > 0:
            return _LOWEST * BUCKET_WIDTH ** (bucket + 0.5)
    return math.nan
