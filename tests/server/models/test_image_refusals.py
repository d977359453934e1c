import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hardening.images import jpeg_of_scans
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from vecserve_server.models.image import ImagePreprocessor
from vecserve_server.models.inputs import ImageInputs, InputLimits, InvalidItemsError
from vecserve_server.models.manifest import ImageInput

Picture = Callable[..., Image.Image]
Encode = Callable[..., bytes]
Refusal = Callable[[bytes], str]

LIMITS = InputLimits(image_bytes=100_000, image_pixels=50_000_000)


@pytest.fixture
def preprocessor(image_spec: ImageInput) -> ImagePreprocessor:
    return ImagePreprocessor(image_spec, LIMITS)


@pytest.fixture
def refusal(preprocessor: ImagePreprocessor) -> Refusal:
    """What is said of an image that is refused."""

    def refusal(content: bytes) -> str:
        with pytest.raises(InvalidItemsError) as refused:
            preprocessor.prepare(ImageInputs([content]))
        return refused.value.problems[0]

    return refusal


def png_header(width: int, height: int) -> bytes:
    """A PNG that states its size and then has one byte of pixels, which no decoder can read."""
    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", ihdr), (b"IDAT", b"x")]
    body = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def test_an_empty_image_is_refused(refusal: Refusal) -> None:
    assert refusal(b"") == "is empty"


def test_too_many_bytes_are_refused_unread(refusal: Refusal) -> None:
    assert refusal(bytes(100_001)) == "has 100001 bytes, and at most 100000 are allowed"


def test_as_many_bytes_as_are_allowed_are_read(
    preprocessor: ImagePreprocessor, picture: Picture, encode: Encode
) -> None:
    content = encode(picture(40, 40))

    preprocessor.prepare(ImageInputs([content.ljust(100_000, b"\0")]))


@pytest.mark.parametrize("content", [b"hello", b"\0" * 100, b"%PDF-1.7\n", b"GIF89a", b"\xff\xd8\xff\xe0", b"RIFF\0\0"])
def test_what_is_no_image_is_refused_with_the_formats_there_are(refusal: Refusal, content: bytes) -> None:
    assert refusal(content) == "is not an image of a known format (JPEG, PNG, WEBP, GIF, TIFF, BMP)"


@pytest.mark.parametrize("form", ["PPM", "ICO", "TGA", "PCX"])
def test_other_formats_of_pillow_are_refused(refusal: Refusal, picture: Picture, encode: Encode, form: str) -> None:
    assert "not an image of a known format" in refusal(encode(picture(40, 40), form))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_a_truncated_image_is_refused(
    refusal: Refusal, picture: Picture, encode: Encode, form: str, share: float
) -> None:
    content = encode(picture(60, 60), form)

    problem = refusal(content[: int(len(content) * share)])

    assert problem.startswith((f"is a broken {form} image: ", "is not an image of a known format"))


def test_a_broken_body_is_refused_as_broken(refusal: Refusal) -> None:
    assert refusal(png_header(60, 60)).startswith("is a broken PNG image: ")


def test_too_many_pixels_are_refused_before_their_decoding_could_fail(refusal: Refusal) -> None:
    assert refusal(png_header(7072, 7072)) == "is 7072 x 7072 pixels, and at most 50000000 in all are allowed"
    assert "broken" in refusal(png_header(10_000, 5_000))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_as_many_pixels_as_pillow_only_warns_of_are_refused(refusal: Refusal) -> None:
    assert refusal(png_header(10_000, 10_000)).startswith("is 10000 x 10000 pixels, and at most")


@pytest.mark.parametrize(("width", "height"), [(60_000, 60_000), (2**31 - 1, 2**31 - 1)])
def test_as_many_pixels_as_pillow_itself_refuses_are_refused_as_too_many(
    refusal: Refusal, width: int, height: int
) -> None:
    assert refusal(png_header(width, height)) == "has too many pixels: at most 50000000 are allowed"


@pytest.mark.parametrize(("width", "height"), [(1, 10_000_000), (10_000_000, 1)])
def test_an_image_that_resizing_would_make_too_large_is_refused(refusal: Refusal, width: int, height: int) -> None:
    assert refusal(png_header(width, height)) == (
        f"is {width} x {height} pixels, which is too long and thin: resized it would have more than 50000000 in all"
    )


@pytest.mark.parametrize(("dtype", "mode"), [(np.int32, "I"), (np.float32, "F")])
def test_pixels_of_32_bits_are_refused(refusal: Refusal, encode: Encode, dtype: type[np.generic], mode: str) -> None:
    content = encode(Image.fromarray(np.zeros((40, 40), dtype)), "TIFF")

    assert refusal(content) == f"has 32-bit pixels (mode {mode}), whose range is unknown: convert it to 8 or 16 bits"


def test_a_jpeg_that_is_refined_without_end_is_refused_before_it_is_decoded(refusal: Refusal) -> None:
    content = jpeg_of_scans(1200, (1000, 1000))

    assert refusal(content).endswith(" scans of 1000 x 1000 pixels, and at most 1000 are allowed")


def test_an_ordinary_progressive_jpeg_is_read(
    preprocessor: ImagePreprocessor, picture: Picture, encode: Encode
) -> None:
    image = picture(60, 60)

    progressive, baseline = preprocessor.prepare(
        ImageInputs([encode(image, "JPEG", progressive=True), encode(image, "JPEG")])
    )

    np.testing.assert_array_equal(progressive.payload, baseline.payload)


def test_everything_wrong_with_a_batch_is_named_at_once(
    preprocessor: ImagePreprocessor, picture: Picture, encode: Encode
) -> None:
    good = encode(picture(40, 40))

    with pytest.raises(InvalidItemsError) as refused:
        preprocessor.prepare(ImageInputs([good, b"", b"text", good, png_header(60, 60)]))

    problems = refused.value.problems
    assert list(problems) == [1, 2, 4]
    assert [problem.split(maxsplit=3)[:3] for problem in problems.values()] == [
        ["is", "empty"],
        ["is", "not", "an"],
        ["is", "a", "broken"],
    ]


# Pillow warns of EXIF that it can't read; the server is not run with warnings as errors.
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0garbage that is no TIFF",
        b"Exif\0\0II*\0\x08\0\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\xff\xff\xff\x7f\0\0\0\0\0\0\0\0",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x05\0\0\0\x01\0\0\xff\xff\0\0\0\0",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(range(256)) * 20,
        b"Exif\0\0II",
    ],
)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_is_ignored(
    preprocessor: ImagePreprocessor, picture: Picture, encode: Encode, form: str, exif: bytes
) -> None:
    image = picture(40, 40)
    plain = encode(image, form)

    broken, whole = preprocessor.prepare(ImageInputs([encode(image, form, exif=exif), plain]))

    assert Image.open(io.BytesIO(plain)).format == form
    np.testing.assert_array_equal(broken.payload, whole.payload)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize(
    "tag",
    [
        struct.pack("<HHII", 0x0100, 7, 5, 0),
        struct.pack("<HHII", 0x0132, 12, 1, 0),
        struct.pack("<HHII", 0x011A, 6, 2, 2**31),
        struct.pack("<HHII", 0x8769, 4, 1, 2**32 - 1),
    ],
    ids=["width in bytes", "date as a number", "value outside of the file", "directory outside of the file"],
)
def test_orientation_is_applied_although_another_tag_is_broken(
    preprocessor: ImagePreprocessor, picture: Picture, encode: Encode, tag: bytes
) -> None:
    image = picture(40, 30)
    orientation = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    exif = b"Exif\0\0II*\0\x08\0\0\0\x02\0" + tag + orientation + bytes(4)
    turned = image.transpose(Image.Transpose.ROTATE_270)

    contents = [encode(image, "PNG", exif=exif), encode(turned)]
    broken, upright = preprocessor.prepare(ImageInputs(contents))

    np.testing.assert_array_equal(broken.payload, upright.payload)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8))
def test_bytes_changed_anywhere_give_pixels_or_a_refusal(
    preprocessor: ImagePreprocessor, picture: Picture, encode: Encode, form: str, changes: list[tuple[float, int]]
) -> None:
    content = bytearray(encode(picture(30, 20), form))
    for place, value in changes:
        content[int(place * min(len(content), 700))] = value

    try:
        (item,) = preprocessor.prepare(ImageInputs([bytes(content)]))
    except InvalidItemsError:
        return
    assert item.payload.shape == (28, 28, 3)


def tiled_tiff(tile_width: int, tile_length: int) -> bytes:
    """A TIFF of 10 x 10 grey pixels that claims one tile, of which there is nothing."""
    tags = {256: 10, 257: 10, 258: 8, 259: 1, 262: 1, 277: 1, 322: tile_width, 323: tile_length, 324: 8, 325: 100}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4)


def test_a_tile_larger_than_the_image_may_be_is_refused_before_it_is_decoded(refusal: Refusal) -> None:
    assert refusal(tiled_tiff(60_000, 30_000)) == "has tiles of 1800000000 pixels, and at most 50000000 are allowed"
    assert refusal(tiled_tiff(16, 16)).startswith("is a broken TIFF image")
