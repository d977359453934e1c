"""Where a call's time went."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
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
