"""The search for the highest rate that meets an objective. Pure: it says what to try, and is told how that went.

1. **Capacity.** A closed loop measures how many calls a second the server answers when it always has some to do.
2. **Bracket.** The first rate is three quarters of that. Rates go up by a quarter until one misses the objective, or
   down by halves until one meets it; if none down to a 64th of the capacity does, none will.
3. **Bisection**, of the rates' logarithms, until the highest rate that held and the lowest that did not are within
   `precision` of each other. A miss is tried again before it counts: what else the machine does makes runs worse,
   hardly ever better.
4. **Confirmation.** The rate that is left must hold again, in `CONFIRMATIONS` longer runs. Each that misses takes it
   down: by `precision`, then by two, four and eight times as much, for then the server has become slower meanwhile.

So the result held in longer runs, and what is `precision` above it missed twice; or, where the confirmation took it
down, the rate before it missed once.
"""

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

CONFIRMATIONS: Final = 2
CONFIRMATION_LENGTH: Final = 2.0
"""Length of the runs that confirm, as a multiple of the others'."""

_FIRST = 0.75
_UP = 1.25
_DOWN = 0.5
_LOWEST = 1 / 64
_HIGHEST = 4.0
_LONGEST_FALL = 8  # as a power of 1 + precision

Purpose: TypeAlias = Literal["bracket", "bisect", "repeat", "confirm"]


@dataclass(frozen=True, slots=True)
class Trial:
    """A rate to try."""

    rate: float
    purpose: Purpose
    length: float = 1.0
    """As a multiple of a run's usual length."""


def search(capacity: float, holds: Callable[[Trial], bool], precision: float = 0.05) -> float | None:
    """Return the highest rate that meets the objective, or None if none does.

    Args:
        capacity: Calls a second in a closed loop.
        holds: Tries a rate, and says whether the objective was met.
        precision: Largest ratio, less 1, of the rates between which the result is.

    Raises:
        ValueError: If the capacity is not positive.
    """
    if not capacity > 0:
        raise ValueError(f"the server answered {capacity:g} calls a second, and a search needs some")
    trials = _trials(capacity, precision)
    try:
        trial = next(trials)
        while True:
            trial = trials.send(holds(trial))
    except StopIteration as end:
        return end.value


_Trials: TypeAlias = Generator[Trial, bool, float | None]


def _trials(capacity: float, precision: float) -> _Trials:
    low, high = yield from _bracket(capacity)
    if low is None:
        return None
    while high / low > 1 + precision:
        middle = math.sqrt(low * high)
        if (yield from _twice(Trial(middle, "bisect"))):
            low = middle
        else:
            high = middle
    return (yield from _confirm(low, precision, capacity))


def _bracket(capacity: float) -> Generator[Trial, bool, tuple[float | None, float]]:
    """Return a rate that held, and one that did not; the same where even the highest tried held."""
    rate = _FIRST * capacity
    if (yield from _twice(Trial(rate, "bracket"))):
        low = rate
        while (high := low * _UP) <= _HIGHEST * capacity:
            if not (yield from _twice(Trial(high, "bracket"))):
                return low, high
            low = high
        return low, low
    while rate * _DOWN >= _LOWEST * capacity:
        high, rate = rate, rate * _DOWN
        if (yield from _twice(Trial(rate, "bracket"))):
            return rate, high
    return None, rate


def _twice(trial: Trial) -> Generator[Trial, bool, bool]:
    return (yield trial) or (yield Trial(trial.rate, "repeat", trial.length))


def _confirm(rate: float, precision: float, capacity: float) -> _Trials:
    steps = 1
    while rate >= _LOWEST * capacity / (1 + precision):
        held = 0
        while held < CONFIRMATIONS and (yield Trial(rate, "confirm", CONFIRMATION_LENGTH)):
            held += 1
        if held == CONFIRMATIONS:
            return rate
        rate /= (1 + precision) ** steps
        steps = min(2 * steps, _LONGEST_FALL)
    return None
