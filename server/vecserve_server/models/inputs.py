"""What callers hand to a model, and what preprocessing makes of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


class Truncation(Enum):
    """What to do with a text of more tokens than the model reads."""

    NONE = "none"
    START = "start"
    END = "end"


# Of what every call makes, nothing is frozen: a frozen dataclass takes four times as long to make.


@dataclass(slots=True)
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


@dataclass(slots=True)
class TokenInputs:
    """Texts to embed that were tokenized already, as the model's own tokenizer does it, special tokens included."""

    ids: NDArray[np.integer[Any]]
    """`(batch, sequence)` token ids."""
    mask: NDArray[np.integer[Any]]
    """`(batch, sequence)`: 1 for each token, then 0 for padding."""

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, which: slice) -> Self:
        """Some of the texts."""
        return replace(self, ids=self.ids[which], mask=self.mask[which])


@dataclass(slots=True)
class ImageInputs:
    """Images to embed, each an encoded file's bytes."""

    contents: Sequence[bytes]

    def __len__(self) -> int:
        return len(self.contents)

    def part(self, which: slice) -> Self:
        """Some of the images."""
        return replace(self, contents=self.contents[which])


@dataclass(slots=True)
class PixelInputs:
    """Images to embed that were decoded, resized and cropped already."""

    pixels: NDArray[np.uint8] | NDArray[np.float32]
    """`(batch, crop, crop, 3)` uint8 RGB; or `(batch, 3, crop, crop)` float32, scaled to [0, 1], less the model's mean,
    divided by its standard deviation."""

    def __len__(self) -> int:
        return len(self.pixels)

    def part(self, which: slice) -> Self:
        """Some of the images."""
        return replace(self, pixels=self.pixels[which])


AnyTextInputs = TextInputs | TokenInputs
AnyImageInputs = ImageInputs | PixelInputs
AnyInputs = AnyTextInputs | AnyImageInputs


@dataclass(slots=True)
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
    """What one item may measure before it is refused, and what is remembered. The server's settings fill them."""

    text_characters: int = 100_000
    image_bytes: int = 20 * 2**20
    image_pixels: int = 50_000_000
    known_words: int = 65_536
    """Of the words of texts, at most so many are known again."""


class InvalidItemsError(ValueError):
    """Some inputs can't be embedded: what is wrong with each, by index."""

    def __init__(self, problems: Mapping[int, str]) -> None:
        super().__init__("; ".join(f"item {index} {problem}" for index, problem in problems.items()))
        self.problems = problems


Prepared = list[PreparedItem] | InvalidItemsError
"""What becomes of one call's inputs: an item for each, in order; or why some can't be embedded."""
