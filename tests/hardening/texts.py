"""Texts that ask more of a tokenizer than their length says."""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

_MOST = 200_000  # characters that the server takes

_SAMPLES = {
    "one letter": "a",
    "an unknown letter": "\U0001f9ff",
    "Chinese, a token each": "犬",
    "punctuation, a token each": "!",
    "spaces": " ",
    "every kind of space": "\u00a0\u2003\u3000\t\r\n",
    "NULs": "\0",
    "control characters": "".join(map(chr, range(1, 32))),
    "replacement characters": "\ufffd",
    "combining marks": "\u0301",
    "letters under many marks": "e" + "\u0301\u0327\u0308" * 30,
    "Hangul that decomposes": "\ud55c",
    "a character that decomposes to eighteen": "\ufdfa",
    "bidirectional marks": "\u202e\u2067abc\u2069\u200f",
    "family emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
    "flags": "\U0001f1e9\U0001f1ea",
    "zero-width joiners": "\u200d",
    "private use": "\ue000\U0010ffff",
    "special tokens": "[CLS][SEP][MASK][PAD][UNK]",
    "halves of special tokens": "[CL",
    "words of a hundred letters": "x" * 100 + " ",
    "words of a hundred and one letters": "x" * 101 + " ",
    "word pieces": "unaffable",
    "capitals that grow": "\u0130\u1e9e",
}


@dataclass(frozen=True)
class Attack:
    """A text, and what it attacks with."""

    name: str
    text: str


def attacks(characters: int = _MOST) -> Iterator[Attack]:
    """Texts of so many characters each; the limits and what lies beyond them among them."""
    for name, sample in _SAMPLES.items():
        yield Attack(name, (sample * (characters // len(sample) + 1))[:characters])
    every = "".join(chr(point) for point in range(0x20, 0x30000) if unicodedata.category(chr(point)) != "Cs")
    yield Attack("every character there is", every[:characters])
    yield Attack("no word", " " * (characters - 1) + "a")


# A surrogate can't be in UTF-8, so these are bytes: field 2, `texts`, of an EmbedTextRequest.
NOT_UTF8 = tuple(
    b"\x12" + bytes([len(text)]) + text
    for text in (
        b"\xed\xa0\x80",
        b"\xed\xb0\x80",
        b"\xed\xa0\xbd\xed\xb8\x80",
        b"\xff\xfe",
        b"\xc0\x80",
        b"\xf4\x90\x80\x80",
        b"a\x80",
    )
)
