from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecserve.chunks import MAX_CHUNK_BYTES, image_chunks, split, text_chunks, vector_options
from vecserve.v1 import embedding_service_pb2 as pb

SIZED = st.lists(st.tuples(st.integers(), st.integers(0, 100)))
BOUNDS = st.integers(1, 10), st.integers(1, 150)


@given(SIZED, *BOUNDS)
def test_splitting_loses_nothing_and_keeps_the_order(sized: list[tuple[int, int]], count: int, size: int) -> None:
    parts = list(split(sized, count, size))

    assert [item for part in parts for item in part] == [item for item, _ in sized]
    assert all(parts)


@given(SIZED, *BOUNDS)
def test_splitting_keeps_to_both_bounds_but_for_single_items(
    sized: list[tuple[int, int]], count: int, size: int
) -> None:
    for part in split([((item, bytes_), bytes_) for item, bytes_ in sized], count, size):
        assert len(part) <= count
        assert len(part) == 1 or sum(bytes_ for _, bytes_ in part) <= size


@given(SIZED, *BOUNDS)
def test_splitting_begins_no_part_that_the_one_before_had_room_for(
    sized: list[tuple[int, int]], count: int, size: int
) -> None:
    parts = list(split([(bytes_, bytes_) for _, bytes_ in sized], count, size))

    assert all(len(one) == count or sum(one) + other[0] > size for one, other in pairwise(parts))


@given(st.lists(st.text(max_size=3), min_size=1), st.integers(1, 8))
def test_chunks_know_their_place_among_the_inputs(texts: list[str], batch_size: int) -> None:
    for chunk in chunks_of(texts, batch_size):
        assert list(chunk.request.texts) == texts[chunk.start : chunk.start + chunk.count]


def test_images_are_split_by_their_bytes_as_well() -> None:
    half = bytes(MAX_CHUNK_BYTES // 2)

    chunks = image_chunks([half, half, b"more"], 32, model="", vector=pb.VectorOptions())

    assert [chunk.count for chunk in chunks] == [2, 1]


def test_texts_are_split_by_their_utf8_bytes_as_well() -> None:
    third_of_characters = "ä" * (MAX_CHUNK_BYTES // 3)

    assert [chunk.count for chunk in chunks_of([third_of_characters] * 2)] == [1, 1]


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        ("one text", TypeError, r"pass \[text\]"),
        ([], ValueError, "texts is empty"),
        (["a", b"b"], TypeError, r"texts\[1\] must be a str, not bytes"),
        (["a", "\ud800"], ValueError, r"texts\[1\] can't be sent as UTF-8"),
    ],
)
def test_texts_that_cannot_be_sent_are_refused(texts: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        chunks_of(texts)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        ("one/path.jpg", TypeError, r"pass \[image\]"),
        (b"one image", TypeError, r"pass \[image\]"),
        ([], ValueError, "images is empty"),
        ([b"a", 3], TypeError, r"images\[1\] must be a path.*, not int"),
    ],
)
def test_images_that_cannot_be_sent_are_refused(images: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        image_chunks(images, 32, model="", vector=pb.VectorOptions())


@pytest.mark.parametrize(
    ("options", "message"), [({"dimensionality": 0}, "dimensionality"), ({"dtype": "float64"}, "dtype")]
)
def test_vector_options_out_of_range_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        vector_options(options.get("normalize"), options.get("dimensionality"), options.get("dtype", "float32"))


def test_an_unknown_truncation_is_named_with_what_is_allowed() -> None:
    with pytest.raises(ValueError, match=r"'end', 'start', 'none'.*'middle'"):
        chunks_of(["a"], truncation="middle")


def chunks_of(texts: Any, batch_size: int = 32, truncation: Any = "end") -> list[Any]:
    return list(text_chunks(texts, batch_size, model="", prompt="", truncation=truncation, vector=pb.VectorOptions()))
