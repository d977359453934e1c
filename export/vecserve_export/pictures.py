"""Drawn pictures, for where photographs would be a burden: two colours mixed by a pattern, under slight noise."""

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_WIDTH, _HEIGHT = 320, 240
_NOISE = 6.0
"""Standard deviation, in levels of 255."""

Plane = NDArray[np.float64]
Pattern = Callable[[Plane, Plane, np.random.Generator], Plane]
"""Coordinates in units of the height, and chance, to weights in [0, 1]: `(height, width)`."""


def picture(family: str, number: int) -> bytes:
    """One picture as a PNG file: the same for the same arguments, and like those of other numbers."""
    index = list(FAMILIES).index(family)
    kin, own = np.random.default_rng(index), np.random.default_rng((index, number))
    x, y = np.meshgrid(np.arange(_WIDTH) / _HEIGHT, np.arange(_HEIGHT) / _HEIGHT)
    weights = FAMILIES[family](x, y, own)[..., None]
    low, high = (kin.uniform(start, start + 128, 3) + own.normal(0, 16, 3) for start in (0, 128))
    pixels = low + (high - low) * weights + own.normal(0, _NOISE, (_HEIGHT, _WIDTH, 3))
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, format="PNG")
    return file.getvalue()


def _stripes(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    angle, frequency = rng.uniform(0, np.pi), rng.uniform(5, 9)
    return _wave(frequency * (x * np.cos(angle) + y * np.sin(angle)))


def _checks(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    squares = rng.integers(4, 10)
    return (np.floor(x * squares) + np.floor(y * squares)) % 2


def _disc(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    radius = rng.uniform(0.15, 0.35)
    return (_distance(x, y, rng) < radius).astype(np.float64)


def _rings(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    return _wave(rng.uniform(5, 9) * _distance(x, y, rng))


def _clouds(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:  # noqa: ARG001 (as all patterns are called)
    coarse = Image.fromarray(rng.uniform(0, 1, (5, 7)).astype(np.float32))
    return np.asarray(coarse.resize(x.shape[::-1], Image.Resampling.BICUBIC), np.float64).clip(0, 1)


def _skyline(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    roofs = rng.uniform(0.25, 0.8, rng.integers(8, 16))
    return (y < roofs[(x / x.max() * (len(roofs) - 1)).astype(int)]).astype(np.float64)


def _hills(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    ridges = [0.3 + 0.2 * row + 0.08 * np.sin(rng.uniform(3, 7) * x + rng.uniform(0, 6)) for row in range(3)]
    return np.mean([y <= ridge for ridge in ridges], axis=0)


def _grass(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    blades = rng.uniform(0, 1, (x.shape[0] // 12, x.shape[1]))
    return np.repeat(blades, 12, axis=0) * (0.4 + 0.6 * y)


def _wave(phase: Plane) -> Plane:
    return 0.5 + 0.5 * np.sin(2 * np.pi * phase)


def _distance(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """From a point somewhere in the middle."""
    return np.hypot(x - rng.uniform(0.4, 0.9), y - rng.uniform(0.35, 0.65))


FAMILIES: dict[str, Pattern] = {
    "stripes": _stripes,
    "checks": _checks,
    "disc": _disc,
    "rings": _rings,
    "clouds": _clouds,
    "skyline": _skyline,
    "hills": _hills,
    "grass": _grass,
}
