"""How large batches are, and what may ride together."""

import math
from dataclasses import dataclass, field

from vecserve_server.engine.cost import CostModel

# A batch is full when its fixed cost is at most one part in this many of it. What larger ones save by it they lose in
# the processor's caches: of single texts, 16 to 40 take the same time each, 48 take 2 % more and 64 take 7.
_FULL = 25

# A fixed cost is taken to be at least this part of one unit: of images, less can't be told from none. In four starts
# 0.03 to 0.065 were measured, so that one to three made a full batch, where four do 3 to 6 % more than one.
_LEAST_FIXED = 0.16

# Work is spread over idle instances as long as a fixed cost is at most one part in 1.5 of each share. At 2.5, four to
# six callers often had one instance, and eight too where the fixed cost was measured a fifth too high; at 0.5, two had
# both, but six to sixteen got less, as each run has to be handed over and told of.
_SHARED = 1.5

# While other batches run that end before it, one takes no more than its share of about two rounds: who took all that
# waits would leave nothing for those who end meanwhile, and their callers come back in crowds. Nothing is left where
# hardly more waits than runs. A fixed cost is at most one part in so many; with a 12th, and fixed costs measured a
# third too high, 64 callers left instances without work for an eighth of the time.
_ROUNDS = 1.8
_LEAN = 7

# Of a batch, at most this part may be padding, however large the batch is; of small ones, as much as takes this part of
# the fixed cost of one more run.
_PADDING_SHARE = 0.05
_PADDING_COST = 0.75


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """What makes a good batch of one model, in its units: tokens, or images."""

    largest: int
    """Units after padding that no batch exceeds, unless a single item does."""
    fixed: float
    """Units that take as long as the fixed cost of a run."""
    full: int = field(init=False)
    """Units at which more would only add latency: a run's fixed cost hardly counts any more."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "full", max(1, round(min(self.largest, _FULL * self.fixed))))

    @classmethod
    def of(cls, cost: CostModel, largest: int) -> "BatchPolicy":
        """The policy for a model of that cost."""
        return cls(largest, max(_LEAST_FIXED, cost.fixed / cost.per_unit) if cost.per_unit else math.inf)

    def budget(self, waiting: int, idle: int, running: int = 0, busy: int = 0) -> int:
        """Units for the next batch when `waiting` are queued and `idle` instances are free, the asking one included.

        The queue is cut into equal parts: about full ones, or smaller ones where instances would stay idle otherwise,
        now, or when the `running` units of `busy` others are done, which end before the next batch.
        """
        parts = max(1, round(waiting / self.full), min(idle, int(waiting / max(1.0, _SHARED * self.fixed))))
        if running:
            share = (waiting + running) / (_ROUNDS * (idle + busy))
            parts = max(parts, int(waiting / max(1.0, share, _LEAN * self.fixed)))
        return min(self.largest, math.ceil(waiting / parts))

    def allow(self, count: int, longest: int, total: int) -> bool:
        """Whether `count` items of `total` units together, the longest of `longest`, may be one batch."""
        padded = count * longest
        return padded <= self.largest and padded - total <= max(_PADDING_COST * self.fixed, _PADDING_SHARE * padded)
