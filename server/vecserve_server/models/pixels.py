"""Pixels that callers bring, as the bytes that the graph takes."""

import numpy as np
from numpy.typing import NDArray

from vecserve_server.models.inputs import InvalidItemsError, PixelInputs, PreparedItem
from vecserve_server.models.manifest import ImageInput


def prepare_pixels(inputs: PixelInputs, spec: ImageInput) -> list[PreparedItem]:
    """One item of `(crop, crop, 3)` uint8 pixels per image, in order.

    Raises:
        InvalidItemsError: normalized pixels are not those of an image.
    """
    if inputs.pixels.dtype == np.uint8:
        return [PreparedItem(pixels, size=1) for pixels in inputs.pixels]
    items: list[PreparedItem] = []
    problems: dict[int, str] = {}
    for index, normalized in enumerate(inputs.pixels):
        levels = _levels(normalized, spec)
        if ((levels >= 0) & (levels <= 255)).all():  # not so if any is NaN
            items.append(PreparedItem(levels.transpose(1, 2, 0).astype(np.uint8), size=1))
        else:
            problems[index] = (
                f"has levels from {levels.min():g} to {levels.max():g} once normalization is undone, and 0 to 255 are "
                f"allowed: scale to [0, 1], subtract {list(spec.mean)}, divide by {list(spec.std)}"
            )
    if problems:
        raise InvalidItemsError(problems)
    return items


def _levels(normalized: NDArray[np.floating], spec: ImageInput) -> NDArray[np.float32]:
    """The whole numbers `(3, crop, crop)` that normalization made `normalized` of.

    Exact for what came from bytes. What did not, as after resizing in floats, moves by at most half a level.
    """
    mean, std = (np.array(values, np.float32)[:, np.newaxis, np.newaxis] for values in (spec.mean, spec.std))
    with np.errstate(over="ignore", invalid="ignore"):  # of what is no image
        return np.rint((normalized * std + mean) * np.float32(255))
