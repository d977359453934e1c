import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vecserve_server.models.manifest import ImageInput

Picture = Callable[..., Image.Image]
Encode = Callable[..., bytes]


@pytest.fixture(scope="session")
def picture() -> Picture:
    """Makes an RGB image in which no two neighbourhoods look alike."""

    def picture(width: int, height: int) -> Image.Image:
        pixels = np.random.default_rng(width * 7919 + height).integers(0, 256, (height, width, 3), np.uint8)
        return Image.fromarray(pixels)

    return picture


@pytest.fixture(scope="session")
def encode() -> Encode:
    """The bytes of an image's file."""

    def encode(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
        file = io.BytesIO()
        image.save(file, form, **options)
        return file.getvalue()

    return encode


@pytest.fixture(scope="session")
def image_spec() -> ImageInput:
    """ResNet's proportions, an eighth as large."""
    return ImageInput(resize_size=32, crop_size=28, interpolation="bilinear", mean=(0, 0, 0), std=(1, 1, 1))
