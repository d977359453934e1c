"""Pixels are torchvision's, bit for bit, whatever the file."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

from vecserve_server.models.image import ImagePreprocessor
from vecserve_server.models.inputs import ImageInputs, InputLimits
from vecserve_server.models.manifest import ImageInput

Picture = Callable[..., Image.Image]
Encode = Callable[..., bytes]
Pixels = Callable[[bytes], NDArray[np.uint8]]


@pytest.fixture(scope="session")
def pixels(image_spec: ImageInput) -> Pixels:
    preprocessor = ImagePreprocessor(image_spec, InputLimits())

    def pixels(content: bytes) -> NDArray[np.uint8]:
        (item,) = preprocessor.prepare(ImageInputs([content]))
        assert item.size == 1
        return item.payload

    return pixels


def torchvision(image: Image.Image, resize: int = 32, crop: int = 28, interpolation: str = "bilinear") -> Image.Image:
    """What torchvision's transforms make of an RGB image."""
    resized = transforms.resize(image, [resize], InterpolationMode(interpolation), antialias=True)  # pyright: ignore[reportArgumentType] (typed for tensors only)
    return transforms.center_crop(resized, [crop])  # pyright: ignore[reportArgumentType, reportReturnType]


SIZES = [
    *((1, 1), (1, 2), (3, 200), (200, 3), (27, 29), (28, 28), (32, 32), (31, 33), (32, 33), (33, 32), (32, 500)),
    *((64, 48), (45, 63), (255, 257), (640, 427), (333, 1000)),
]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_any_size_is_resized_and_cropped_as_by_torchvision(
    pixels: Pixels, picture: Picture, encode: Encode, width: int, height: int
) -> None:
    image = picture(width, height)

    np.testing.assert_array_equal(pixels(encode(image)), np.asarray(torchvision(image)))


@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    edges=st.integers(1, 40).flatmap(lambda resize: st.tuples(st.just(resize), st.integers(1, resize))),
    interpolation=st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"]),
)
def test_any_edges_and_interpolation_are_torchvisions(
    picture: Picture, encode: Encode, width: int, height: int, edges: tuple[int, int], interpolation: str
) -> None:
    image = picture(width, height)
    spec = ImageInput.model_validate(
        {
            "resize_size": edges[0],
            "crop_size": edges[1],
            "interpolation": interpolation,
            "mean": (0, 0, 0),
            "std": (1, 1, 1),
        }
    )

    (item,) = ImagePreprocessor(spec, InputLimits()).prepare(ImageInputs([encode(image, "BMP")]))

    np.testing.assert_array_equal(item.payload, np.asarray(torchvision(image, *edges, interpolation)))


MODES = [
    *((form, mode) for form in ("PNG", "TIFF") for mode in ("RGB", "L", "LA", "P", "RGBA", "1")),
    *(("JPEG", mode) for mode in ("RGB", "L", "CMYK")),
    *(("WEBP", mode) for mode in ("RGB", "RGBA")),
    *(("BMP", mode) for mode in ("RGB", "L", "P", "1")),
    *(("GIF", mode) for mode in ("L", "P")),
    ("TIFF", "CMYK"),
    ("TIFF", "YCbCr"),
]


@pytest.mark.parametrize(("form", "mode"), MODES)
def test_any_mode_is_converted_as_by_pillow(
    pixels: Pixels, picture: Picture, encode: Encode, form: str, mode: str
) -> None:
    image = picture(50, 40)
    if mode in ("LA", "RGBA"):
        image.putalpha(picture(50, 40).convert("L"))
    content = encode(image.convert(mode), form)

    decoded = Image.open(io.BytesIO(content))
    np.testing.assert_array_equal(pixels(content), np.asarray(torchvision(decoded.convert("RGB"))))


@pytest.mark.parametrize(("form", "transparency"), [("PNG", 3), ("GIF", 3), ("PNG", bytes(range(200)))])
def test_transparency_of_a_palette_is_dropped(
    pixels: Pixels, picture: Picture, encode: Encode, form: str, transparency: int | bytes
) -> None:
    image = picture(50, 40).quantize(256)

    content = encode(image, form, transparency=transparency)

    np.testing.assert_array_equal(pixels(content), np.asarray(torchvision(image.convert("RGB"))))


@pytest.mark.parametrize(("form", "order"), [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2")])
def test_grey_of_16_bits_keeps_its_upper_8(pixels: Pixels, encode: Encode, form: str, order: str) -> None:
    values = np.random.default_rng(0).integers(0, 2**16, (40, 50)).astype(order)
    image = Image.fromarray(values)
    assert image.mode.startswith("I;16")

    grey = Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")

    np.testing.assert_array_equal(pixels(encode(image, form)), np.asarray(torchvision(grey)))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (1, None),
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (3, Image.Transpose.ROTATE_180),
        (4, Image.Transpose.FLIP_TOP_BOTTOM),
        (5, Image.Transpose.TRANSPOSE),
        (6, Image.Transpose.ROTATE_270),
        (7, Image.Transpose.TRANSVERSE),
        (8, Image.Transpose.ROTATE_90),
        (9, None),
    ],
)
def test_exif_orientation_is_applied(
    pixels: Pixels, picture: Picture, encode: Encode, form: str, orientation: int, turn: Image.Transpose | None
) -> None:
    image = picture(60, 40)
    lossless = {"lossless": True} if form == "WEBP" else {}
    exif = Image.Exif()
    exif[0x0112] = orientation

    upright = Image.open(io.BytesIO(encode(image, form, **lossless))).convert("RGB")
    expected = upright.transpose(turn) if turn is not None else upright

    np.testing.assert_array_equal(pixels(encode(image, form, exif=exif, **lossless)), np.asarray(torchvision(expected)))


def test_16_bit_grey_is_turned_too(pixels: Pixels, encode: Encode) -> None:
    values = np.random.default_rng(0).integers(0, 2**16, (40, 50)).astype(np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 3

    turned = Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB").transpose(Image.Transpose.ROTATE_180)

    content = encode(Image.fromarray(values), "PNG", exif=exif)
    np.testing.assert_array_equal(pixels(content), np.asarray(torchvision(turned)))


@pytest.mark.parametrize("form", ["GIF", "WEBP", "TIFF", "PNG"])
def test_of_several_frames_the_first_is_read(pixels: Pixels, picture: Picture, encode: Encode, form: str) -> None:
    frames = [picture(50 + extra, 40) for extra in (0, 0, 0)]
    frames = [frame.quantize(64) if form == "GIF" else frame for frame in frames]
    for shade, frame in enumerate(frames):
        frame.paste(shade, (0, 0, 20, 20))

    content = encode(frames[0], form, save_all=True, append_images=frames[1:])

    first = Image.open(io.BytesIO(content)).convert("RGB")
    np.testing.assert_array_equal(pixels(content), np.asarray(torchvision(first)))


def test_images_come_in_order(picture: Picture, encode: Encode, pixels: Pixels, image_spec: ImageInput) -> None:
    contents = [encode(picture(width, 40)) for width in (30, 50, 40)]

    items = ImagePreprocessor(image_spec, InputLimits()).prepare(ImageInputs(contents))

    for item, content in zip(items, contents, strict=True):
        np.testing.assert_array_equal(item.payload, pixels(content))
