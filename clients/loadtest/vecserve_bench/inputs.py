"""What is embedded: texts and images, as they are, from files, or made up."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

import numpy as np

from vecserve_bench.distributions import Lengths

Kind: TypeAlias = Literal["text", "image"]

SENTENCE = "A man is eating a piece of bread in the kitchen."
"""14 tokens of BERT's, the two special ones included."""

DRAWN_TEXTS: Final = 1024
DRAWN_IMAGES: Final = 16

MAX_BYTES: Final = 256 * 2**20
"""Of the inputs of all calls together: requests are built before they are needed, and stay in memory."""

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp"})

# Each is one token of BERT's vocabulary, so that a text has two tokens more than words.
_WORDS = """
time year people way day man thing woman life child world school state family student group country problem hand part
place case week company system program question work government number night point home water room mother area money
story fact month lot right study book eye job word business issue side kind head house service friend father power hour
game line end member law car city community name president team minute idea body information
"""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Texts in UTF-8 or encoded images, sent in their order, over and over."""

    kind: Kind
    items: Sequence[bytes]
    description: str


def fixed_text(text: str) -> Inputs:
    """Return one text.

    Raises:
        ValueError: If it is empty.
    """
    if not text:
        raise ValueError("the text is empty, which servers refuse")
    return Inputs("text", [text.encode()], f"one text of {len(text)} characters")


def drawn_texts(lengths: Lengths, count: int = DRAWN_TEXTS, seed: int = 0) -> Inputs:
    """Return texts of random words, which have two tokens more than words for BERT."""
    random = np.random.default_rng(seed)
    words = _WORDS.split()
    texts = [" ".join(random.choice(words, length)).encode() for length in lengths.draw(count, random)]
    spread = f"{lengths.least} to {lengths.most}, median {lengths.median:g}, sigma {lengths.sigma:g}"
    return Inputs("text", texts, f"{count} texts of log-normally many words: {spread}")


def texts_of(path: Path) -> Inputs:
    """Return a file's lines, without those that are blank.

    Raises:
        OSError: If the file can't be read.
        ValueError: If it isn't UTF-8, or has no text.
    """
    try:
        lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} isn't UTF-8: {error.reason} at byte {error.start}") from error
    texts = [line.encode() for line in lines if line]
    if not texts:
        raise ValueError(f"{path} has no text: each line is one")
    return Inputs("text", texts, f"{len(texts)} texts of {path.name}")


def images_of(folder: Path) -> Inputs:
    """Return the images of a folder and of those in it, in the order of their names, as far as `MAX_BYTES` reach.

    Raises:
        OSError: If the folder can't be read.
        ValueError: If it has no image.
    """
    if not folder.is_dir():
        raise NotADirectoryError(20, "not a folder", str(folder))
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if not paths:
        raise ValueError(f"{folder} has no image: files that end in {', '.join(sorted(_SUFFIXES))}")
    images: list[bytes] = []
    while len(images) < len(paths) and sum(map(len, images)) < MAX_BYTES:
        images.append(paths[len(images)].read_bytes())
    count = f"{len(images)}" if len(images) == len(paths) else f"the first {len(images)} of {len(paths)}"
    return Inputs("image", images, f"{count} images of {folder.name}")


def drawn_images(width: int = 500, height: int = 375, count: int = DRAWN_IMAGES, seed: int = 0) -> Inputs:
    """Return JPEG files of smooth shapes with fine noise, which compress about as photographs do.

    Raises:
        ValueError: If a side is 0.
    """
    if min(width, height) < 1:
        raise ValueError(f"images have at least one pixel, and {width}x{height} is asked for")
    images = list(_jpegs(width, height, count, np.random.default_rng(seed)))
    return Inputs("image", images, f"{count} made-up JPEG images of {width}x{height} pixels")


def _jpegs(width: int, height: int, count: int, random: np.random.Generator) -> Iterator[bytes]:
    from PIL import Image  # here, for those who bring texts or images of their own

    for _ in range(count):
        coarse = random.integers(0, 256, (max(1, height // 16), max(1, width // 16), 3), dtype=np.uint8)
        shapes = Image.fromarray(coarse).resize((width, height))
        noise = random.normal(0, 8, (height, width, 3))
        pixels = np.clip(np.asarray(shapes) + noise, 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=85)
        yield file.getvalue()
