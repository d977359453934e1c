"""What work costs, in seconds: measured at warm-up, corrected by every batch."""

from dataclasses import dataclass
from typing import Self

# Weight of the newest batch in the correction: the last ten or so count.
_SMOOTHING = 0.1


@dataclass(slots=True)
class Average:
    """What something costs by the unit, in seconds, the latest counting most. 0 until it was seen."""

    seconds: float = 0.0

    def observe(self, size: int, seconds: float) -> None:
        """Learns from `size` units that took `seconds` together."""
        measured = seconds / size
        self.seconds += (_SMOOTHING if self.seconds else 1.0) * (measured - self.seconds)


@dataclass(slots=True)
class CostModel:
    """Seconds of a batch, as a line through its padded size: a fixed part and a part for every unit.

    Units are tokens or images. `correction` follows the machine as it is: neighbours, clock speed, heat.
    """

    fixed: float
    per_unit: float
    correction: float = 1.0

    @classmethod
    def through(cls, small: tuple[int, float], large: tuple[int, float]) -> Self:
        """The line through two measured batches, each its size and its seconds."""
        (small_size, small_seconds), (large_size, large_seconds) = small, large
        if large_size == small_size:
            return cls(fixed=0.0, per_unit=large_seconds / large_size)
        per_unit = max(0.0, (large_seconds - small_seconds) / (large_size - small_size))
        return cls(fixed=max(0.0, small_seconds - per_unit * small_size), per_unit=per_unit)

    def batch_seconds(self, size: int) -> float:
        """Predicted duration of one batch of `size` units after padding."""
        return (self.fixed + self.per_unit * size) * self.correction

    def observe(self, size: int, seconds: float) -> None:
        """Learns from a batch that took `seconds`."""
        predicted = self.fixed + self.per_unit * size
        if predicted > 0:
            self.correction += _SMOOTHING * (seconds / predicted - self.correction)
