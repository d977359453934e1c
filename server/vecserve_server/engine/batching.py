"""How large batches are, and what may ride together."""

import math
from dataclasses import dataclass, field

from vecserve_server.engine.cost import CostModel

# A batch is full when its fixed cost is at most one part in this many of it.
_FULL = 40

# Work is spread over idle instances as long as a fixed cost is at most one part in this many of each share.
_SHARED = 3

# While other batches run, one takes no more than its share of two rounds: who took all that waits would leave nothing
# for those that end meanwhile, and their callers come back in crowds. A fixed cost is at most one part in this many.
_ROUNDS = 2
_LEAN = 12

# Of a batch, at most this part may be padding, however large the batch is.
_PADDING_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """What makes a good batch of one model, in its units: tokens, or images."""

    largest: int
    """Units after padding that no batch exceeds, unless a single item does."""
    fixed: float
    """Units that take as long as the fixed cost of a run: padding less than this is cheaper than one more run."""
    full: int = field(init=False)
    """Units at which more would only add latency: a run's fixed cost hardly counts any more."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "full", max(1, round(min(self.largest, _FULL * self.fixed))))

    @classmethod
    def of(cls, cost: CostModel, largest: int) -> "BatchPolicy":
        """The policy for a model of that cost."""
        return cls(largest, cost.fixed / cost.per_unit if cost.per_unit else math.inf)

    def budget(self, waiting: int, idle: int, running: int = 0, busy: int = 0) -> int:
        """Units for the next batch when `waiting` are queued and `idle` instances are free, the asking one included.

        The queue is cut into equal parts: about full ones, or smaller ones where instances would stay idle otherwise,
        now, or when the `running` units of `busy` others are done.
        """
        parts = max(1, round(waiting / self.full), min(idle, int(waiting / max(1.0, _SHARED * self.fixed))))
        if running:
            share = (waiting + running) / (_ROUNDS * (idle + busy))
            parts = max(parts, int(waiting / max(1.0, share, _LEAN * self.fixed)))
        return min(self.largest, math.ceil(waiting / parts))

    def allow(self, count: int, longest: int, total: int) -> bool:
        """Whether `count` items of `total` units together, the longest of `longest`, may be one batch."""
        padded = count * longest
        return padded <= self.largest and padded - total <= max(self.fixed, _PADDING_SHARE * padded)
