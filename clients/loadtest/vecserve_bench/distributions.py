"""How many words a text has, and how many inputs a call. Pure."""

import re
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

_LENGTHS = re.compile(r"(?P<median>[\d.]+)(?::(?P<sigma>[\d.]+))?(?::(?P<least>\d+)-(?P<most>\d+))?")


@dataclass(frozen=True, slots=True)
class Lengths:
    """Log-normally distributed numbers of words, those out of bounds moved to the bounds.

    Raises:
        ValueError: On a value out of its range.
    """

    median: float
    sigma: float = 0.9
    """Standard deviation of the logarithm: 0.9 puts a sixth of all lengths above 2.5 times the median."""
    least: int = 1
    most: int = 254
    """256 tokens with BERT's two special ones."""

    FORM: ClassVar = "MEDIAN[:SIGMA[:LEAST-MOST]]"

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.median <= self.most or self.sigma < 0:
            raise ValueError(f"lengths need 1 <= least <= median <= most and sigma >= 0, and are {self}")

    @classmethod
    def parse(cls, text: str) -> "Lengths":
        """Read what `FORM` says, e.g. `32`, `32:0.9` or `32:0.9:4-254`.

        Raises:
            ValueError: If it is something else.
        """
        if not (found := _LENGTHS.fullmatch(text)):
            raise ValueError(f"lengths are {cls.FORM}, such as 32:0.9:4-254, not {text!r}")
        given = {name: float(value) for name, value in found.groupdict().items() if value is not None}
        bounds = {name: int(given.pop(name)) for name in ("least", "most") if name in given}
        return cls(**given, **bounds)

    def draw(self, count: int, random: np.random.Generator) -> list[int]:
        """Return so many lengths."""
        drawn = random.lognormal(np.log(self.median), self.sigma, count)
        return np.clip(np.rint(drawn), self.least, self.most).astype(int).tolist()

    def __str__(self) -> str:
        return f"{self.median:g}:{self.sigma:g}:{self.least}-{self.most}"


@dataclass(frozen=True, slots=True)
class BatchSizes:
    """How many inputs calls have: sizes, and how often each comes.

    Raises:
        ValueError: On a size below 1, or weights that are not positive.
    """

    sizes: tuple[int, ...]
    weights: tuple[float, ...]

    FORM: ClassVar = "N, LEAST-MOST, or N:WEIGHT,N:WEIGHT,..."

    def __post_init__(self) -> None:
        if min(self.sizes) < 1:
            raise ValueError(f"a call has at least one input, and {min(self.sizes)} is asked for")
        if not all(0 < weight < float("inf") for weight in self.weights):
            raise ValueError(f"weights of batch sizes must be positive numbers, and are {self.weights}")

    @classmethod
    def parse(cls, text: str) -> "BatchSizes":
        """Read what `FORM` says, e.g. `8`, `1-32` (each as often) or `1:70,8:20,32:10`.

        Raises:
            ValueError: If it is something else.
        """
        try:
            if ":" in text:
                pairs = [part.split(":") for part in text.split(",")]
                return cls(tuple(int(size) for size, _ in pairs), tuple(float(weight) for _, weight in pairs))
            least, _, most = text.partition("-")
            sizes = tuple(range(int(least), int(most or least) + 1))
            return cls(sizes, (1.0,) * len(sizes)) if sizes else cls((0,), (1.0,))
        except ValueError as error:
            if "batch sizes" in str(error) or "a call has" in str(error):
                raise
            raise ValueError(f"batch sizes are {cls.FORM}, such as 8, 1-32 or 1:70,8:20,32:10, not {text!r}") from error

    @property
    def fixed(self) -> bool:
        """Whether all calls have the same size."""
        return len(set(self.sizes)) == 1

    @property
    def mean(self) -> float:
        """Inputs of a call on average."""
        return sum(size * weight for size, weight in zip(self.sizes, self.weights, strict=True)) / sum(self.weights)

    def draw(self, count: int, random: np.random.Generator) -> list[int]:
        """Return the sizes of so many calls."""
        shares = np.array(self.weights) / sum(self.weights)
        return random.choice(np.array(self.sizes), size=count, p=shares).tolist()

    def __str__(self) -> str:
        if self.fixed:
            return str(self.sizes[0])
        if len(set(self.weights)) == 1 and self.sizes == tuple(range(self.sizes[0], self.sizes[-1] + 1)):
            return f"{self.sizes[0]}-{self.sizes[-1]}"
        return ",".join(f"{size}:{weight:g}" for size, weight in zip(self.sizes, self.weights, strict=True))


ONE: Final = BatchSizes((1,), (1.0,))
