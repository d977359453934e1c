import gzip
import itertools
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecserve_wire.messages import MessageError, MessageReader, prefix_of

LIMIT = 1000


def feed(data: bytes, encoding: str = "identity") -> list[bytes]:
    reader = MessageReader(encoding, LIMIT)
    return [reader.plain(message) for message in reader.feed(data)]


def prefixed(message: bytes, max_bytes: int) -> bytes:
    return prefix_of(message, max_bytes) + message


def flagged(body: bytes, flag: int = 1) -> bytes:
    return bytes((flag,)) + len(body).to_bytes(4, "big") + body


@given(messages=st.lists(st.binary(max_size=50), max_size=8), cuts=st.lists(st.integers(0, 500), max_size=20))
def test_any_split_into_pieces_gives_the_same_messages(messages: list[bytes], cuts: list[int]) -> None:
    data = b"".join(prefixed(message, LIMIT) for message in messages)
    reader, got = MessageReader("identity", LIMIT), list[bytes]()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, stop in itertools.pairwise(edges):
        got += reader.feed(data[start:stop])
    assert got == messages
    assert not reader.held


@given(size=st.integers(0, 40), cut=st.integers(0, 44))
def test_what_is_not_whole_is_counted(size: int, cut: int) -> None:
    data = prefixed(b"x" * size, LIMIT)[:cut]
    reader = MessageReader("identity", LIMIT)
    whole = reader.feed(data)
    assert reader.held == (0 if whole else len(data))


def test_a_message_in_tiny_pieces_takes_little_more_than_its_size() -> None:
    size = 2**16
    reader, data = MessageReader("identity", size), prefixed(b"ab" * (size // 2), size)
    tracemalloc.start()
    try:
        for start in range(0, len(data) - 2, 2):
            reader.feed(data[start : start + 2])
        assert tracemalloc.get_traced_memory()[0] < 2 * size
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_messages_are_unpacked(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    assert feed(flagged(compress(b"text" * 10)) + flagged(b"plain", 0), encoding) == [b"text" * 10, b"plain"]


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_bomb_is_refused_without_being_unpacked(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    bomb = flagged(compress(bytes(2**24))[:LIMIT])
    tracemalloc.start()
    try:
        with pytest.raises(MessageError, match=r"larger than max \(1001 vs. 1000\)") as caught:
            feed(bomb, encoding)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    assert caught.value.code == 8


def test_a_message_is_unpacked_only_when_it_is_read() -> None:
    reader = MessageReader("gzip", 2**20)
    (held,) = reader.feed(flagged(gzip.compress(bytes(2**20))))
    assert len(held) < 2000
    assert len(reader.plain(held)) == 2**20


def test_a_message_that_says_it_is_too_large_is_refused_before_it_comes() -> None:
    with pytest.raises(MessageError, match=r"Received message larger than max \(1001 vs. 1000\)"):
        feed(b"\0" + (1001).to_bytes(4, "big"))
    assert feed(prefixed(bytes(1000), LIMIT)) == [bytes(1000)]


def test_a_message_that_is_too_large_is_not_sent() -> None:
    with pytest.raises(MessageError, match=r"Sent message larger than max \(1001 vs. 1000\)"):
        prefix_of(bytes(1001), 1000)


@pytest.mark.parametrize(
    ("data", "encoding", "code", "words"),
    [
        (flagged(b"", 2), "gzip", 3, "begins with 2"),
        (flagged(b"x"), "identity", 3, "does not say how"),
        (flagged(b"x"), "br", 12, "'br'"),
        (flagged(b"text"), "gzip", 3, "not gzip"),
        (flagged(gzip.compress(b"text")[:-1]), "gzip", 3, "not whole"),
    ],
)
def test_a_message_that_can_not_be_read_says_why(data: bytes, encoding: str, code: int, words: str) -> None:
    with pytest.raises(MessageError, match=words) as caught:
        feed(data, encoding)
    assert caught.value.code == code
