from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from transformers import BitImageProcessor

from vecserve_server.models.inputs import InvalidItemsError, PixelInputs
from vecserve_server.models.manifest import ImageInput
from vecserve_server.models.model import ImageModel
from vecserve_server.models.pixels import prepare_pixels

Picture = Callable[..., Image.Image]


@pytest.fixture
def spec() -> ImageInput:
    imagenet = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    return ImageInput.model_validate({"resize_size": 32, "crop_size": 32, "interpolation": "bilinear", **imagenet})


@pytest.fixture
def pixels(picture: Picture) -> NDArray[np.uint8]:
    """Two images `(2, 32, 32, 3)` uint8; in the second, every channel has every level."""
    every_level = np.arange(32 * 32 * 3).reshape(32, 32, 3) // 3 % 256
    return np.stack([np.asarray(picture(32, 32)), every_level.astype(np.uint8)])


def normalized(pixels: NDArray[np.uint8], spec: ImageInput) -> NDArray[np.float32]:
    """As transformers' image processors do it: `(batch, 3, crop, crop)`."""
    processor = BitImageProcessor(
        do_resize=False, do_center_crop=False, image_mean=list(spec.mean), image_std=list(spec.std)
    )
    return np.asarray(processor([*pixels], return_tensors="np")["pixel_values"])


def test_bytes_are_taken_as_they_are(pixels: NDArray[np.uint8], spec: ImageInput) -> None:
    items = prepare_pixels(PixelInputs(pixels), spec)

    np.testing.assert_array_equal([item.payload for item in items], pixels)
    assert [item.size for item in items] == [1, 1]


def test_normalization_is_undone_to_the_byte(pixels: NDArray[np.uint8], spec: ImageInput) -> None:
    given = normalized(pixels, spec)
    assert given.dtype == np.float32

    items = prepare_pixels(PixelInputs(given), spec)

    assert all(item.payload.dtype == np.uint8 for item in items)
    np.testing.assert_array_equal([item.payload for item in items], pixels)


def test_what_was_no_byte_is_rounded_to_one(pixels: NDArray[np.uint8], spec: ImageInput) -> None:
    given = normalized(pixels, spec)
    step = np.float32(0.4 / 255) / np.array(spec.std, np.float32)[:, np.newaxis, np.newaxis]

    items = prepare_pixels(PixelInputs((given + step).astype(np.float32)), spec)

    np.testing.assert_array_equal([item.payload for item in items], pixels)


@pytest.mark.parametrize(
    ("value", "told"),
    [(-2.2, "from -5 to 255 "), (2.7, "from 0 to 281 "), (1e38, "from 0 to inf "), (np.nan, "from nan to nan ")],
)
def test_pixels_of_no_image_are_refused(pixels: NDArray[np.uint8], spec: ImageInput, value: float, told: str) -> None:
    given = normalized(pixels, spec)
    given[1, 0, 5, 5] = value

    with pytest.raises(InvalidItemsError) as refusal:
        prepare_pixels(PixelInputs(given), spec)

    assert list(refusal.value.problems) == [1]
    assert told in refusal.value.problems[1]
    assert "subtract [0.485, 0.456, 0.406], divide by [0.229, 0.224, 0.225]" in refusal.value.problems[1]


def test_the_model_takes_pixels(image_model: ImageModel) -> None:
    pixels = np.full((2, 8, 8, 3), (1, 2, 3), np.uint8)

    items = image_model.prepare(PixelInputs(pixels))

    np.testing.assert_allclose(image_model.run([item.payload for item in items]), [(1, 2, 3)] * 2, atol=1e-5)


def test_a_part_has_its_images(pixels: NDArray[np.uint8]) -> None:
    part = PixelInputs(pixels).part(slice(1, 2))

    assert len(part) == 1
    np.testing.assert_array_equal(part.pixels, pixels[1:])
