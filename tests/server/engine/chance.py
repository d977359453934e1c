"""What chance decides of a simulated engine and its callers."""

from dataclasses import dataclass

from hypothesis import strategies as st

from vecserve_server.engine.cost import CostModel
from vecserve_server.engine.priority import Priority

COSTS = {"slow": CostModel(0.1, 0.004), "quick": CostModel(0.002, 0.0005)}
"""Of the models."""
HANGING = 1e5
"""How much slower than its cost a run is that hangs: it ends after hours."""


@dataclass(frozen=True)
class Arrival:
    """A call that comes `gap` ticks after the one before, and what its caller wants."""

    gap: int
    model: str
    sizes: list[int]
    """Tokens of each text; of a text that is refused, none."""
    priority: Priority
    patience: int | None
    """Ticks to its deadline."""
    cancelled_after: int | None
    waits_for_room: bool


@dataclass(frozen=True)
class World:
    """Everything else that chance decides."""

    instances: int
    longest_wait: float
    runs: list[tuple[float, bool]]
    """How much slower than predicted each run is, and whether it fails. Some take so long that they are given up."""
    lag: float
    stop_at: int | None
    swaps: list[int]
    """Ticks at which the slow model is replaced by another version."""
    deaths: frozenset[int]
    """Which looks of instances at the queue end the instance instead."""


def arrival_of(chance: bytes) -> Arrival:
    """A call made of random bytes, as drawing every field by itself takes longer than the schedule runs."""
    gap, kind, patience, cancelled_after, *sizes = chance
    return Arrival(
        gap=[0, 0, 0, 1, 1, 4, 20][gap % 7],
        model=list(COSTS)[kind & 1],
        sizes=[size % 64 for size in sizes],
        priority=list(Priority)[kind >> 1 & 1],
        patience=None if patience > 127 else patience % 41,
        cancelled_after=None if cancelled_after > 63 else cancelled_after % 41,
        waits_for_room=bool(kind >> 2 & 1),
    )


runs = st.tuples(st.sampled_from([0.1, 0.8, 1.0, 1.0, 1.5, 5.0, HANGING]), st.sampled_from([False, False, False, True]))
worlds = st.builds(
    World,
    instances=st.integers(1, 3),
    longest_wait=st.sampled_from([0.02, 0.1, 1.0, 10.0]),
    runs=st.lists(runs, min_size=1, max_size=6),
    lag=st.sampled_from([0.0, 1e-6, 0.01]),
    stop_at=st.none() | st.integers(0, 60),
    swaps=st.lists(st.integers(0, 60), max_size=2),
    deaths=st.frozensets(st.integers(0, 100), max_size=2),
)
