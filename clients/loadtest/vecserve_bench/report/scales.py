"""From values to places along an axis, and the ticks to mark there. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from vecserve_bench.figures import number

Tick = tuple[float, str]
"""A place, from 0 to 1 along the axis, and its label; no label for a line of the grid alone."""


class Scale(Protocol):
    """An axis."""

    def place(self, value: float) -> float:
        """Return where a value is: 0 at the axis' beginning, 1 at its end."""
        ...

    @property
    def ticks(self) -> Sequence[Tick]:
        """What to mark."""
        ...


@dataclass(frozen=True, slots=True)
class Linear:
    """Equal steps, of 1, 2 or 5 times a power of ten."""

    low: float
    high: float
    step: float

    @classmethod
    def over(cls, high: float, low: float = 0.0, ticks: int = 6) -> "Linear":
        """Return a scale that begins at `low` or below, and ends at `high` or above."""
        step = _round_up((high - low) / ticks or 1.0)
        return cls(math.floor(low / step) * step, max(math.ceil(high / step - 1e-9), 1) * step, step)

    @classmethod
    def to(cls, high: float, ticks: int = 8) -> "Linear":
        """Return a scale from 0 that ends exactly at `high`."""
        return cls(0.0, high, _round_up(high / ticks))

    def place(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)

    @property
    def ticks(self) -> Sequence[Tick]:
        count = int((self.high - self.low) / self.step + 1e-9)
        values = [self.low + index * self.step for index in range(count + 1)]
        return [(self.place(value), number(value)) for value in values]


@dataclass(frozen=True, slots=True)
class Log:
    """Equal ratios: from one of 1, 2 or 5 times a power of ten to another."""

    low: float
    high: float
    marks: tuple[float, ...] = ()
    """What to mark instead of powers of ten and what is between them."""

    @classmethod
    def over(cls, values: Sequence[float]) -> "Log":
        """Return a scale that holds all values, which are positive."""
        low, high = _round_down(min(values)), _round_up(max(values))
        return cls(low, high if high > low else 10 * low)

    @classmethod
    def at(cls, values: Sequence[float]) -> "Log":
        """Return a scale that marks the values, which are positive, and nothing else."""
        margin = (max(values) / min(values)) ** 0.03 * 1.02
        return cls(min(values) / margin, max(values) * margin, tuple(sorted(set(values))))

    def place(self, value: float) -> float:
        return math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)

    @property
    def ticks(self) -> Sequence[Tick]:
        if self.marks:
            return [(self.place(value), number(value)) for value in self.marks]
        decades = math.log10(self.high / self.low)
        named = (1, 2, 5) if decades <= 3 else (1,)
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        found: list[Tick] = []
        for power in range(first, last + 1):
            for factor in range(1, 10):
                value = factor * 10.0**power
                if self.low * 0.999 <= value <= self.high * 1.001:
                    found.append((self.place(value), number(value) if factor in named else ""))
        return found


@dataclass(frozen=True, slots=True)
class Tail:
    """Percentiles, each tenth of the rest as wide as the nine tenths before it: 0, 90, 99, 99.9, ..."""

    calls: int
    """How many there are: the largest is put where half a call would be above it."""

    def place(self, value: float) -> float:
        rest = max(1 - value / 100, 0.5 / self.calls)
        return -math.log10(rest) / math.log10(2 * self.calls)

    @property
    def ticks(self) -> Sequence[Tick]:
        points = [0.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.99, 99.999, 99.9999]
        inside = [point for point in points if 1 - point / 100 > 0.6 / self.calls]
        return [*((self.place(point), f"{point:g}") for point in inside), (1.0, "max")]


def _round_up(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= value * (1 - 1e-9))


def _round_down(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value) + 1e-12)
    return next(factor * power for factor in (5, 2, 1) if factor * power <= value * (1 + 1e-9))
