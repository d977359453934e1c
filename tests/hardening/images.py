"""Hostile and broken images, made by code from a seed."""

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")

# A corner of what the server accepts: 49 million pixels of at most 50.
_LARGE = (7000, 7000)


@dataclass(frozen=True)
class Hostile:
    """An image, and what is wrong with it."""

    name: str
    content: bytes


Make = Callable[[random.Random], bytes]


def hostile_images(seed: int, count: int) -> Iterator[Hostile]:
    """So many images: each kind in turn, so that few are as varied as many."""
    draw = random.Random(seed)
    kinds = [*_KINDS.items()]
    for index in range(count):
        name, make = kinds[index % len(kinds)]
        yield Hostile(name, make(draw))


def heavy_images() -> Iterator[Hostile]:
    """The most work that a small file can ask for: each is decoded, or refused, in bounded time."""
    yield Hostile("a PNG of 49 million pixels in 48 kB", _encoded("PNG", Image.new("1", _LARGE)))
    yield Hostile("an RGBA PNG of 49 million pixels", _encoded("PNG", Image.new("RGBA", _LARGE)))
    yield Hostile("a GIF of 49 million pixels", _encoded("GIF", Image.new("P", _LARGE)))
    yield Hostile("a WebP of 49 million pixels", _encoded("WEBP", Image.new("RGB", _LARGE), quality=0, method=0))
    yield Hostile("a JPEG of 49 million pixels", _encoded("JPEG", Image.new("CMYK", _LARGE), quality=1))
    yield Hostile("a TIFF of 49 million pixels", _encoded("TIFF", Image.new("L", _LARGE), compression="tiff_deflate"))
    yield Hostile("a progressive JPEG with 2000 scans", jpeg_of_scans(2000, (3000, 3000)))


def jpeg_of_scans(count: int, size: tuple[int, int]) -> bytes:
    """A progressive JPEG that refines itself again and again: each scan walks over the whole image."""
    whole = _encoded("JPEG", Image.new("L", size), progressive=True)
    last = whole.rindex(b"\xff\xda")
    scan = whole[last:-2]
    return whole[:last] + scan * count + whole[-2:]


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk with its length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2, body: bytes | None = None) -> bytes:
    """A PNG of any header; its pixels are `body`, or none at all."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    idat = png_chunk(b"IDAT", zlib.compress(bytes(100)) if body is None else body)
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + idat + png_chunk(b"IEND", b"")


def tiff(entries: list[tuple[int, int, int, int]], *, after: bytes = b"", next_directory: int = 0) -> bytes:
    """A little-endian TIFF of one directory at byte 8: tag, type, count and value of each entry."""
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<2sHI", b"II", 42, 8) + directory + struct.pack("<I", next_directory) + after


def _encoded(form: str, image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def _picture(draw: random.Random, mode: str = "RGB", size: tuple[int, int] | None = None) -> Image.Image:
    width, height = size or (draw.randint(1, 80), draw.randint(1, 80))
    noise = np.random.default_rng(draw.randrange(2**32)).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(noise).convert(mode)


def _any(draw: random.Random, form: str) -> bytes:
    options = {"lossless": True} if form == "WEBP" else {}
    return _encoded(form, _picture(draw), **options)


def _truncated(form: str) -> Make:
    def make(draw: random.Random) -> bytes:
        whole = _any(draw, form)
        return whole[: draw.randrange(len(whole))]

    return make


def _corrupt(form: str) -> Make:
    def make(draw: random.Random) -> bytes:
        data = bytearray(_any(draw, form))
        for _ in range(draw.randint(1, 20)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        return bytes(data)

    return make


def _corrupt_header(form: str) -> Make:
    def make(draw: random.Random) -> bytes:
        data = bytearray(_any(draw, form))
        for _ in range(draw.randint(1, 6)):
            data[draw.randrange(min(64, len(data)))] = draw.choice((0, 1, 0x7F, 0x80, 0xFF))
        return bytes(data)

    return make


def _huge_header(draw: random.Random) -> bytes:
    edges = (0, 1, 16384, 65535, 2**31 - 1, 2**31, 2**32 - 1)
    return png(draw.choice(edges), draw.choice(edges))


def _odd_png(draw: random.Random) -> bytes:
    return png(
        draw.randint(1, 99), draw.randint(1, 99), depth=draw.choice((0, 1, 3, 16, 255)), colour=draw.randrange(8)
    )


def _png_body_too_long(draw: random.Random) -> bytes:
    return png(4, 4, body=zlib.compress(bytes(draw.randint(10**6, 10**8))))


def _png_text_bomb(draw: random.Random) -> bytes:
    packed = zlib.compress(bytes(10**8), 9)
    kinds = (
        (b"zTXt", b"k\0\0" + packed),
        (b"iTXt", b"k\0\1\0\0\0" + packed),
        (b"iCCP", b"k\0\0" + packed),
        (b"eXIf", bytes(10**7)),
    )
    return png(8, 8, png_chunk(*draw.choice(kinds)))


def _png_many_chunks(draw: random.Random) -> bytes:
    kind = draw.choice((b"tEXt", b"gAMA", b"tRNS", b"PLTE", b"IHDR", b"acTL", b"fcTL", b"xxXx"))
    return png(8, 8, png_chunk(kind, draw.randbytes(draw.randint(0, 40))) * draw.randint(1, 20_000))


def _png_palette(draw: random.Random) -> bytes:
    """Indices beyond a palette that is too short, or missing."""
    palette = png_chunk(b"PLTE", draw.randbytes(draw.choice((0, 1, 3, 9))))
    rows = b"".join(b"\0" + draw.randbytes(16) for _ in range(16))
    return png(16, 16, palette, png_chunk(b"tRNS", draw.randbytes(20)), colour=3, body=zlib.compress(rows))


def _sixteen_bits(draw: random.Random) -> bytes:
    pixels = np.random.default_rng(draw.randrange(99)).integers(0, 2**16, (20, 30), np.uint16)
    return _encoded(draw.choice(("PNG", "TIFF")), Image.fromarray(pixels))


def _odd_mode(draw: random.Random) -> bytes:
    form, modes = draw.choice(
        (("JPEG", ("CMYK", "L")), ("TIFF", ("CMYK", "LAB", "F", "I", "1")), ("PNG", ("LA", "1", "P")))
    )
    return _encoded(
        form,
        _picture(draw, "RGB").convert(draw.choice(modes) if form != "TIFF" else draw.choice(("CMYK", "F", "I", "1"))),
    )


def _animated(draw: random.Random) -> bytes:
    frames = [_picture(draw, "RGB", (20, 20)) for _ in range(draw.randint(2, 60))]
    form = draw.choice(("GIF", "WEBP", "PNG", "TIFF"))
    return _encoded(form, frames[0], save_all=True, append_images=frames[1:])


def _thin(draw: random.Random) -> bytes:
    return _encoded(
        draw.choice(("PNG", "GIF", "BMP")), Image.new("L", draw.choice(((1, 60_000), (60_000, 1), (2, 9999))))
    )


def _gif_frame_beyond_its_screen(draw: random.Random) -> bytes:
    data = bytearray(_encoded("GIF", _picture(draw, "P", (4, 4))))
    at = data.index(b"\x2c", 13)
    data[at + 1 : at + 9] = struct.pack("<4H", *(draw.choice((0, 1, 5000, 65535)) for _ in range(4)))
    return bytes(data)


def _bmp(draw: random.Random) -> bytes:
    edges = (0, 1, -1, 64, 7000, 2**31 - 1, -(2**31))
    size = struct.pack("<ii", draw.choice(edges), draw.choice(edges))
    fields = struct.pack(
        "<HHIIiiII",
        draw.choice((0, 1)),
        draw.choice((1, 4, 8, 16, 24, 32, 99)),
        draw.choice((0, 1, 2, 3, 4)),
        0,
        0,
        0,
        draw.choice((0, 256, 2**31)),
        0,
    )
    return b"BM" + struct.pack("<IHHI", 100, 0, 0, 54) + struct.pack("<I", 40) + size + fields + draw.randbytes(400)


def _jpeg_segments(draw: random.Random) -> bytes:
    """Comments, profiles and EXIF of megabytes, or that lie about their length."""
    whole = _any(draw, "JPEG")
    marker = draw.choice((0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE))
    body = draw.choice((b"Exif\0\0", b"ICC_PROFILE\0\1\1", b"Photoshop 3.0\0", b"Adobe\0", b"")) + draw.randbytes(
        60_000
    )
    length = draw.choice((len(body) + 2, len(body) + 2, 0, 1, 0xFFFF))
    return whole[:2] + (bytes((0xFF, marker)) + struct.pack(">H", length) + body) * draw.randint(1, 40) + whole[2:]


def _jpeg_exif_loop(draw: random.Random) -> bytes:
    """EXIF whose directories name each other."""
    own = draw.choice((8, 14, 0, 2**32 - 1))
    entries = [(0x8769, 4, 1, own), (0x8825, 4, 1, own), (0x0112, 3, 1, draw.randrange(12)), (0x014A, 4, 1000, own)]
    return _encoded("JPEG", _picture(draw), exif=b"Exif\0\0" + tiff(entries, next_directory=8))


def _jpeg_sizes(draw: random.Random) -> bytes:
    data = bytearray(_any(draw, "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", draw.choice((0, 1, 7000, 65535)), draw.choice((0, 1, 7000, 65535)))
    return bytes(data)


def _jpeg_many_scans(draw: random.Random) -> bytes:
    return jpeg_of_scans(draw.randint(101, 3000), (draw.randint(16, 400), 300))


def _tiff_entries(draw: random.Random) -> bytes:
    """A directory that refers to itself, or to more than there is."""
    extremes = (0, 1, 8, 10, 5000, 2**31, 2**32 - 1)
    tags = (
        256,
        257,
        258,
        259,
        262,
        270,
        273,
        277,
        278,
        279,
        284,
        317,
        320,
        322,
        323,
        324,
        325,
        330,
        338,
        339,
        347,
        34665,
    )
    base = {
        256: 16,
        257: 16,
        258: 8,
        259: draw.choice((1, 2, 3, 4, 5, 6, 7, 8, 32773, 34925, 50000)),
        262: 1,
        273: 200,
        277: 1,
        278: 16,
        279: 256,
    }
    for _ in range(draw.randint(0, 4)):
        base[draw.choice(tags)] = draw.choice(extremes)
    entries = [
        (tag, draw.choice((3, 4, 4, 4)), draw.choice((1, 1, 1, 1000, 2**32 - 1)), value)
        for tag, value in sorted(base.items())
    ]
    return tiff(entries, after=draw.randbytes(600), next_directory=draw.choice((0, 8, 2**32 - 1)))


def _tiff_deflate_bomb(draw: random.Random) -> bytes:
    """One strip of few rows that inflates to much more."""
    packed = zlib.compress(bytes(10**8), 9)
    entries = [
        (256, 4, 1, 8),
        (257, 4, 1, 8),
        (258, 3, 1, 8),
        (259, 3, 1, 8),
        (262, 3, 1, 1),
        (273, 4, 1, 200),
        (277, 3, 1, 1),
        (278, 4, 1, 8),
        (279, 4, 1, len(packed)),
    ]
    head = tiff(entries)
    return head + bytes(200 - len(head)) + packed


def _webp_chunks(draw: random.Random) -> bytes:
    """A canvas and frames of different sizes, and chunks of wrong lengths."""
    canvas = struct.pack("<I", draw.choice((0, 10, 16383, 2**24 - 1)))[:3]
    extended = b"VP8X" + struct.pack("<I", 10) + bytes([draw.randrange(256), 0, 0, 0]) + canvas + canvas
    whole = _any(draw, "WEBP")[12:]
    extra = (
        draw.choice((b"ICCP", b"EXIF", b"XMP ", b"ANIM", b"ANMF", b"ALPH"))
        + struct.pack("<I", draw.choice((0, 7, 2**32 - 1)))
        + draw.randbytes(99)
    )
    body = b"WEBP" + extended + draw.choice((extra, b"")) + whole
    return b"RIFF" + struct.pack("<I", draw.choice((len(body), 0, 2**32 - 1))) + body


def _no_image(draw: random.Random) -> bytes:
    starts = (
        b"",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"II*\0",
        b"MM\0*",
        b"RIFF\0\0\0\0WEBP",
        b"BM",
        b"<svg>",
        b"%PDF-1.7",
        b"8BPS",
        b"\0\0\1\0",
    )
    return draw.choice(starts) + draw.randbytes(draw.randint(0, 4000))


_KINDS: dict[str, Make] = {
    **{f"a truncated {form}": _truncated(form) for form in FORMATS},
    **{f"a corrupt {form}": _corrupt(form) for form in FORMATS},
    **{f"a {form} with a corrupt header": _corrupt_header(form) for form in FORMATS},
    "a PNG of impossible size": _huge_header,
    "a PNG of an odd kind": _odd_png,
    "a PNG with too much in it": _png_body_too_long,
    "a PNG with compressed text or profile": _png_text_bomb,
    "a PNG of many chunks": _png_many_chunks,
    "a PNG beyond its palette": _png_palette,
    "16 bits": _sixteen_bits,
    "an odd mode": _odd_mode,
    "an animation": _animated,
    "a thin image": _thin,
    "a GIF frame beyond its screen": _gif_frame_beyond_its_screen,
    "a BMP of odd fields": _bmp,
    "a JPEG with large segments": _jpeg_segments,
    "a JPEG whose EXIF loops": _jpeg_exif_loop,
    "a JPEG of wrong size": _jpeg_sizes,
    "a JPEG of many scans": _jpeg_many_scans,
    "a TIFF of odd entries": _tiff_entries,
    "a TIFF that inflates": _tiff_deflate_bomb,
    "a WebP of odd chunks": _webp_chunks,
    "no image": _no_image,
}
