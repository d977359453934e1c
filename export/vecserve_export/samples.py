"""What exports are tried on: texts of many lengths and scripts, images of many sizes and modes."""

import io
import random

import numpy as np
from PIL import Image

_LONGEST_TEXT = 1280
"""In words. Attention over more would take gigabytes."""

_WORDS = (
    "the river runs under seven bridges before it reaches a quiet harbour where boats wait for rain",
    "Über die Brücke läuft ein Mädchen; café naïve façade jalapeño smörgåsbord",
    "Поезд уходит утром, и никто не знает, куда он едет",
    "το πλοίο φεύγει το πρωί από το λιμάνι",
    "القطار يغادر في الصباح ولا أحد يعرف إلى أين",
    "הרכבת יוצאת בבוקר אל הים",
    "नदी के पार एक छोटा सा गाँव है",
    "河 对岸 有 一个 安静的 小村庄 。",
    "川の 向こうに 静かな 村が あります",
    "강 건너에 조용한 마을이 있습니다",
    "แม่น้ำ ไหล ผ่าน เมือง เก่า",
    "x=3.14, y≠42%; https://example.com/?q=a&b=c 😀 🚲 [MASK] <s> ©2024 e\u0301 İ",
)

_SIZES = ((224, 224), (37, 211), (640, 479), (301, 97), (33, 34), (480, 641), (225, 350), (1, 3))

_ENCODINGS = (
    ("RGB", "JPEG"),
    ("RGB", "PNG"),
    ("L", "PNG"),
    ("P", "PNG"),
    ("RGBA", "WEBP"),
    ("CMYK", "JPEG"),
    ("1", "TIFF"),
    ("RGB", "BMP"),
)


def texts(max_token_count: int) -> list[str]:
    """Texts of one word to well more than the model reads: for each length, one in English and one in many scripts."""
    longest = min(max_token_count + max_token_count // 4 + 1, _LONGEST_TEXT)
    lengths = sorted({1, 2, 3, 7, longest, *(min(longest, round(5 * 1.6**n)) for n in range(13))})
    rng = random.Random(0)  # noqa: S311 (not a secret: every export is tried on the same texts)
    english, every = _WORDS[0].split(), " ".join(_WORDS).split()
    return [" ".join(rng.choices(words, k=length)) for length in lengths for words in (english, every)]


def images() -> list[bytes]:
    """Encoded images: smooth colour under noise, in every mode that loses nothing of note on its way to RGB."""
    rng = np.random.default_rng(0)
    return [_encode(_picture(size, rng), *encoding) for size, encoding in zip(_SIZES * 2, _ENCODINGS * 2, strict=True)]


def _picture(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    x, y = np.meshgrid(*(np.linspace(0, 1, length) for length in size))
    phases = rng.uniform(0, 2 * np.pi, size=(3, 3))
    smooth = np.stack([np.sin(5 * a * x + 7 * b * y + c) for a, b, c in phases], axis=-1)
    noisy = 127.5 + 100 * smooth + rng.normal(0, 12, smooth.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def _encode(image: Image.Image, mode: str, image_format: str) -> bytes:
    file = io.BytesIO()
    image.convert(mode).save(file, format=image_format)
    return file.getvalue()
