import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vecserve.images import encoded

NOISE = np.random.default_rng(0).integers(0, 256, (6, 5, 4), np.uint8)


def decoded(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16", "P", "RGB", "RGBA"])
def test_a_pil_image_of_a_mode_that_png_holds_arrives_as_it_was(mode: str) -> None:
    grey16 = Image.fromarray(NOISE[..., 0].astype(np.uint16) * 257)
    image = grey16 if mode == "I;16" else Image.fromarray(NOISE).convert(mode)

    arrived = decoded(encoded(image))

    assert arrived.mode == mode
    np.testing.assert_array_equal(np.asarray(arrived), np.asarray(image))


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "LAB"])
def test_a_pil_image_of_another_mode_arrives_as_rgb(mode: str) -> None:
    image = Image.fromarray(NOISE[..., :3])
    image = Image.new("LAB", (5, 6), (120, 30, 200)) if mode == "LAB" else image.convert(mode)

    arrived = decoded(encoded(image))

    assert arrived.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(arrived), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_a_pil_images_orientation_goes_with_it(mode: str) -> None:
    image = Image.new(mode, (4, 2))
    image.getexif()[0x0112] = 6

    assert decoded(encoded(image)).getexif()[0x0112] == 6


def test_bytes_of_any_kind_are_sent_as_they_are() -> None:
    assert encoded(b"x") == encoded(bytearray(b"x")) == encoded(memoryview(b"x")) == b"x"


def test_a_path_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match=tmp_path.name):
        encoded(tmp_path)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_a_pil_image_of_unknown_range_is_refused(mode: str) -> None:
    with pytest.raises(ValueError, match=rf"32-bit pixels \(mode {mode}\)"):
        encoded(Image.new(mode, (5, 6)))


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L"])
def test_a_pil_image_of_16_bits_arrives_whole_in_either_byte_order(mode: str) -> None:
    values = np.arange(30, dtype=np.uint16).reshape(6, 5) * 2000
    raw = values.astype(">u2" if mode == "I;16B" else "<u2").tobytes()
    image = Image.frombytes(mode, (5, 6), raw)

    arrived = Image.open(io.BytesIO(encoded(image)))

    assert (np.asarray(arrived).astype(np.uint16) == values).all()
