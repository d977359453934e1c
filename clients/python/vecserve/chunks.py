"""A caller's inputs, cut into the requests that carry them. Checks what can be known without a server."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Literal, TypeAlias, TypeVar, get_args

from vecserve.images import ImageInput, encoded, is_image
from vecserve.v1 import embedding_service_pb2 as pb

Truncation: TypeAlias = Literal["end", "start", "none"]
Dtype: TypeAlias = Literal["float32", "float16"]

MAX_CHUNK_BYTES = 16 * 2**20
"""Most bytes of inputs in one request, unless a single input is larger: a quarter of the largest message."""

_TRUNCATIONS: dict[str, pb.Truncation.ValueType] = {
    "end": pb.TRUNCATION_END,
    "start": pb.TRUNCATION_START,
    "none": pb.TRUNCATION_NONE,
}
_ELEMENT_TYPES: dict[str, pb.ElementType.ValueType] = {
    "float32": pb.ELEMENT_TYPE_FLOAT32,
    "float16": pb.ELEMENT_TYPE_FLOAT16,
}

_Request = TypeVar("_Request", bound=pb.EmbedTextRequest | pb.EmbedImageRequest)


@dataclass(frozen=True, slots=True)
class Chunk(Generic[_Request]):
    """One request of a call."""

    request: _Request
    start: int
    """Index of its first input among the caller's."""
    count: int
    """Number of its inputs."""


def text_chunks(
    texts: Iterable[str], batch_size: int, *, model: str, prompt: str, truncation: Truncation, vector: pb.VectorOptions
) -> Iterator[Chunk[pb.EmbedTextRequest]]:
    """Return the requests for some texts, in order; they are built as they are asked for.

    Raises:
        TypeError: If `texts` is a single string, or holds something that isn't one.
        ValueError: If it is empty or holds a text that UTF-8 can't carry, or on an unknown truncation.
    """
    if truncation not in _TRUNCATIONS:
        raise ValueError(f"truncation must be one of {get_args(Truncation)}, not {truncation!r}")
    if isinstance(texts, str):
        raise TypeError("texts is a single str, and would be read character by character: pass [text]")
    items = _not_empty(list(texts), "texts")
    sizes = [_utf8_size(text, index) for index, text in enumerate(items)]

    def build(part: list[str]) -> pb.EmbedTextRequest:
        return pb.EmbedTextRequest(
            model=model, texts=part, truncation=_TRUNCATIONS[truncation], vector=vector, prompt=prompt
        )

    return _chunks(zip(items, sizes, strict=True), batch_size, build)


def image_chunks(
    images: Iterable[ImageInput], batch_size: int, *, model: str, vector: pb.VectorOptions
) -> Iterator[Chunk[pb.EmbedImageRequest]]:
    """Return the requests for some images, in order.

    Files are read, and PIL images encoded, as their request is asked for: a folder need not fit into memory.

    Raises:
        TypeError: If `images` is a single image, or holds something that isn't one.
        ValueError: If it is empty.
        OSError: If a file can't be read, when its request is asked for.
    """
    if is_image(images):
        raise TypeError(f"images is a single {type(images).__name__}: pass [image]")
    items = _not_empty(list(images), "images")
    for index, image in enumerate(items):
        _check_image(image, index)

    def build(part: list[bytes]) -> pb.EmbedImageRequest:
        return pb.EmbedImageRequest(model=model, images=[pb.Image(content=content) for content in part], vector=vector)

    contents = map(encoded, items)
    return _chunks(((content, len(content)) for content in contents), batch_size, build)


def vector_options(normalize: bool | None, dimensionality: int | None, dtype: Dtype) -> pb.VectorOptions:
    """Return how vectors are asked for; None leaves the choice to the model.

    Raises:
        ValueError: On a dimensionality below 1 or an unknown dtype.
    """
    if dimensionality is not None and dimensionality < 1:
        raise ValueError(f"dimensionality must be at least 1, not {dimensionality}")
    if dtype not in _ELEMENT_TYPES:
        raise ValueError(f"dtype must be one of {get_args(Dtype)}, not {dtype!r}")
    normalization = {
        None: pb.NORMALIZATION_UNSPECIFIED,
        True: pb.NORMALIZATION_L2,
        False: pb.NORMALIZATION_NONE,
    }[normalize]
    return pb.VectorOptions(
        dimensionality=dimensionality or 0, element_type=_ELEMENT_TYPES[dtype], normalization=normalization
    )


_Item = TypeVar("_Item")


def split(
    sized: Iterable[tuple[_Item, int]], max_count: int, max_bytes: int = MAX_CHUNK_BYTES
) -> Iterator[list[_Item]]:
    """Yield items in order, in lists as long as both bounds allow; an item larger than the bound goes alone.

    Args:
        sized: Each item with its size in bytes.
        max_count: Most items in a list.
        max_bytes: Most bytes in a list.
    """
    part: list[_Item] = []
    total = 0
    for item, size in sized:
        if part and (len(part) == max_count or total + size > max_bytes):
            yield part
            part, total = [], 0
        part.append(item)
        total += size
    if part:
        yield part


def _chunks(
    sized: Iterable[tuple[_Item, int]], batch_size: int, build: Callable[[list[_Item]], _Request]
) -> Iterator[Chunk[_Request]]:
    start = 0
    for part in split(sized, batch_size):
        yield Chunk(build(part), start, len(part))
        start += len(part)


def _not_empty(items: list[_Item], name: str) -> list[_Item]:
    if not items:
        raise ValueError(f"{name} is empty: there is nothing to embed")
    return items


def _utf8_size(text: object, index: int) -> int:
    if not isinstance(text, str):
        raise TypeError(f"texts[{index}] must be a str, not {type(text).__name__}")
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f"texts[{index}] can't be sent as UTF-8: {error}") from None


def _check_image(image: object, index: int) -> None:
    if not is_image(image):
        raise TypeError(
            f"images[{index}] must be a path, an encoded image's bytes or a PIL image, not {type(image).__name__}"
        )
