"""What callers hand to a model, and what preprocessing makes of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Self

from numpy.typing import NDArray


class Truncation(Enum):
    """What to do with a text of more tokens than the model reads."""

    NONE = "none"
    START = "start"
    END = "end"


@dataclass(frozen=True, slots=True)
class TextInputs:
    """Texts to embed."""

    texts: Sequence[str]
    truncation: Truncation = Truncation.END
    prompt: str = ""
    """Name of one of the model's prompts; empty for none."""

    def __len__(self) -> int:
        return len(self.texts)

    def part(self, which: slice) -> Self:
        """Some of the texts, to be read in the same way."""
        return replace(self, texts=self.texts[which])


@dataclass(frozen=True, slots=True)
class ImageInputs:
    """Images to embed, each an encoded file's bytes."""

    contents: Sequence[bytes]

    def __len__(self) -> int:
        return len(self.contents)

    def part(self, which: slice) -> Self:
        """Some of the images."""
        return replace(self, contents=self.contents[which])


@dataclass(frozen=True, slots=True)
class PreparedItem:
    """One input, ready to be batched."""

    payload: NDArray[Any]
    """`(tokens,)` int64 token ids, or `(crop, crop, 3)` uint8 pixels."""
    size: int
    """What it costs in a batch, in the model's unit: tokens, or images."""
    token_count: int = 0
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class InputLimits:
    """What one item may measure before it is refused. The server's settings fill them."""

    text_characters: int = 1_000_000
    image_bytes: int = 20 * 2**20
    image_pixels: int = 50_000_000


class InvalidItemsError(ValueError):
    """Some inputs can't be embedded: what is wrong with each, by index."""

    def __init__(self, problems: Mapping[int, str]) -> None:
        super().__init__("; ".join(f"item {index} {problem}" for index, problem in problems.items()))
        self.problems = problems
