"""Where a call's time went."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Timings:
    """Durations of a call's stages, in seconds; each begins where the one before ended."""

    preprocess: float
    """Admission included."""
    queue: float
    infer: float
    """From the beginning of the call's first batch to the end of its last."""
    output: float
    """Until the vectors were with the call."""

    @property
    def total(self) -> float:
        return self.preprocess + self.queue + self.infer + self.output


@dataclass(slots=True)
class Progress:
    """How far a call has come, in times on the engine's clock; None for what has not come yet."""

    received: float | None = None
    prepared: float | None = None
    """When it was preprocessed, and its items were queued."""
    started: float | None = None
    """When its first batch began; known once all have ended, as is the next."""
    ended: float | None = None
    trace: Any = None
    """What follows the call. The engine hands it on with the call's work, and doesn't look into it."""

    def stages(self, answered: float) -> Iterator[tuple[str, float, float]]:
        """Name, begin and end of each stage that has ended, of a call that was answered at some time."""
        begins = (self.received, self.prepared, self.started, self.ended, answered)
        for stage, begin, end in zip(("preprocess", "queue", "compute", "respond"), begins, begins[1:], strict=False):
            if begin is not None and end is not None:
                yield stage, begin, end
