"""Encoded images to pixels, bit for bit as torchvision's PIL transforms do it, without torch."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from vecserve_server.models.inputs import ImageInputs, InputLimits, InvalidItemsError, PreparedItem
from vecserve_server.models.manifest import ImageInput

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

# What turns an image upright, by its EXIF orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Progressive JPEGs have some ten scans, each of which walks over all pixels, about a billion in a second. One takes no
# more than 23 bytes: an image of 20 MB could keep a thread busy for hours.
_MAX_SCANS = 20
_START_OF_SCAN = b"\xff\xda"

# Registers Pillow's plugins now, on one thread.
Image.init()


class _RefusedImageError(ValueError):
    """Why one image can't be embedded."""


class ImagePreprocessor:
    """Decodes, orients, resizes and crops. Thread-safe."""

    def __init__(self, spec: ImageInput, limits: InputLimits) -> None:
        self._spec = spec
        self._limits = limits

    def prepare(self, inputs: ImageInputs) -> list[PreparedItem]:
        """One item of `(crop, crop, 3)` uint8 pixels per image, in order.

        Raises:
            InvalidItemsError: an image is empty, too large, of another format, or can't be decoded.
        """
        items: list[PreparedItem] = []
        problems: dict[int, str] = {}
        for index, content in enumerate(inputs.contents):
            try:
                items.append(PreparedItem(self._pixels(content), size=1))
            except _RefusedImageError as refused:
                problems[index] = str(refused)
        if problems:
            raise InvalidItemsError(problems)
        return items

    def _pixels(self, content: bytes) -> NDArray[np.uint8]:
        image = self._decode(self._open(content))
        return crop_center(resize_shorter_edge(image, self._spec), self._spec.crop_size)

    def _open(self, content: bytes) -> Image.Image:
        """Reads the header, and refuses what would be too large to decode."""
        if not content:
            raise _RefusedImageError("is empty")
        if len(content) > self._limits.image_bytes:
            raise _RefusedImageError(f"has {len(content)} bytes, and at most {self._limits.image_bytes} are allowed")
        try:
            image = Image.open(io.BytesIO(content), formats=FORMATS)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise _RefusedImageError(f"has too many pixels: at most {self._limits.image_pixels} are allowed") from error
        except Exception as error:  # Pillow's plugins raise whatever a broken header leads them to
            raise _RefusedImageError(f"is not an image of a known format ({', '.join(FORMATS)})") from error
        self._check_pixels(image)
        if isinstance(image, JpegImageFile):
            self._check_scans(image, content.count(_START_OF_SCAN))
        return image

    def _check_pixels(self, image: Image.Image) -> None:
        limit = self._limits.image_pixels
        given = f"is {image.width} x {image.height} pixels"
        if image.width * image.height > limit:
            raise _RefusedImageError(f"{given}, and at most {limit} in all are allowed")
        if _tile_pixels(image) > limit:
            raise _RefusedImageError(f"has tiles of {_tile_pixels(image)} pixels, and at most {limit} are allowed")
        width, height = resized(image.size, self._spec.resize_size)
        if width * height > limit:
            raise _RefusedImageError(
                f"{given}, which is too long and thin: resized it would have more than {limit} in all"
            )

    def _check_scans(self, image: Image.Image, scans: int) -> None:
        allowed = _MAX_SCANS * self._limits.image_pixels // (image.width * image.height)
        if scans > allowed:
            raise _RefusedImageError(
                f"has {scans} scans of {image.width} x {image.height} pixels, and at most {allowed} are allowed"
            )

    def _decode(self, image: Image.Image) -> Image.Image:
        try:
            image.load()
            return to_rgb(orient(image))
        except _RefusedImageError:
            raise
        except Exception as error:  # as above, for a broken body
            raise _RefusedImageError(f"is a broken {image.format} image: {error}") from error


def _tile_pixels(image: Image.Image) -> int:
    """Pixels of a TIFF's tiles, which may be larger than the image and are decoded whole; 0 for other images."""
    if not isinstance(image, TiffImageFile):
        return 0
    width, length = (image.tag_v2.get(tag, 0) for tag in (ExifTags.Base.TileWidth, ExifTags.Base.TileLength))
    return int(width) * int(length)


def orient(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation says; one whose EXIF can't be read is left as it is.

    Pillow's `exif_transpose` also rewrites the EXIF, and fails if any other tag is broken.
    """
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # Pillow raises whatever broken EXIF leads it to
        return image
    return image if turn is None else image.transpose(turn)


def to_rgb(image: Image.Image) -> Image.Image:
    """The image as 8-bit RGB, by Pillow's conversion: alpha is dropped, palettes are looked up.

    16-bit grey keeps its upper 8 bits, as Pillow itself decodes 16-bit colour; its conversion would turn everything
    above 255 white. 32-bit integers and floats are refused: nothing says which of their values is white.
    """
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise _RefusedImageError(
            f"has 32-bit pixels (mode {image.mode}), whose range is unknown: convert it to 8 or 16 bits"
        )
    image.info.pop("transparency", None)  # Pillow drops it as well, with a warning
    return image if image.mode == "RGB" else image.convert("RGB")


def resized(size: tuple[int, int], shorter_edge: int) -> tuple[int, int]:
    """Width and height after resizing, rounded as torchvision rounds them."""
    width, height = size
    if width <= height:
        return shorter_edge, int(shorter_edge * height / width)
    return int(shorter_edge * width / height), shorter_edge


def resize_shorter_edge(image: Image.Image, spec: ImageInput) -> Image.Image:
    """The image with its shorter edge at `spec.resize_size` pixels, its aspect ratio kept."""
    return image.resize(resized(image.size, spec.resize_size), _RESAMPLING[spec.interpolation])


def crop_center(image: Image.Image, edge: int) -> NDArray[Any]:
    """The square in the middle, `(edge, edge, 3)` uint8; an odd margin is halved as torchvision halves it."""
    left, top = (round((length - edge) / 2) for length in image.size)
    return np.asarray(image.crop((left, top, left + edge, top + edge)))
