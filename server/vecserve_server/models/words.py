"""Token ids of words that came before, so that a tokenizer need not look at them again."""

import json
from collections.abc import Iterable
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

_LONGEST_WORD = 32
# Of one text: sentences of technical English took 37 µs each without, and with 2, 4 and 8 at once 44, 36 and 31 at
# first, and in the end 21, 17 and 16. Where most is new, as in keys and numbers, the whole is tokenized faster than
# word by word.
_MOST_NEW = 8


class KnownWords:
    """Tokenizes texts of known words at the price of a dictionary, and learns words from the others. Thread-safe.

    A word is what stands between two spaces, punctuation included. It is tokenized by the tokenizer itself, once: a
    text of 12 words takes 1.3 µs instead of 29.
    """

    def __init__(self, tokenizer: Tokenizer, prefix: int, suffix: int, most_words: int) -> None:
        """Knows no words yet.

        Args:
            tokenizer: One that `splits_at_spaces`.
            prefix: How many special tokens stand before every text.
            suffix: How many stand after it.
            most_words: It forgets all of them rather than know more. Few words are frequent: of 36,000 sentences of
                technical English, which have 46,000, the last 4,000 had none that was new in six of ten. These take
                6.4 MB with their ids. 65,536 of those with most tokens, Korean ones taken apart, take 70 MB.
        """
        self._tokenizer = tokenizer
        self._most_words = most_words
        special = tokenizer.encode("").ids
        self._prefix, self._suffix = _packed(special[:prefix]), _packed(special[prefix : prefix + suffix])
        self._known: dict[str, bytes] = {}

    def ids(self, text: str) -> NDArray[np.int64] | None:
        """A text's token ids, special ones included, `(tokens,)`, not to be changed; None if too much of it is new."""
        words = text.split(" ")
        found = self._found(words)
        if found is None and self._learn(words):
            found = self._found(words)
        return None if found is None else np.frombuffer(self._prefix + found + self._suffix, dtype=np.int64)

    def _found(self, words: list[str]) -> bytes | None:
        try:
            return b"".join(map(self._known.__getitem__, words))
        except KeyError:
            return None

    def _learn(self, words: Iterable[str]) -> bool:
        """Learns some of the words that are new; whether these are all."""
        known = self._known
        new = [word for word in dict.fromkeys(words) if word not in known]
        learned = [word for word in new if len(word) <= _LONGEST_WORD][: min(_MOST_NEW, self._most_words)]
        if len(known) + len(learned) > self._most_words:
            known = self._known = {}
        for word in learned:
            known[word] = _packed(self._tokenizer.encode(word, add_special_tokens=False).ids)
        return len(learned) == len(new)


def splits_at_spaces(tokenizer: Tokenizer) -> bool:
    """Whether a space always ends a token, and nothing before one matters to what follows it: so it is in BERT's."""
    return (
        isinstance(tokenizer.model, models.WordPiece)
        and isinstance(tokenizer.pre_tokenizer, pre_tokenizers.BertPreTokenizer)
        and _normalizers(tokenizer) <= {"BertNormalizer", "Lowercase"}
        and not any(_may_span_words(token, tokenizer) for token in tokenizer.get_added_tokens_decoder().values())
        and _comes_once(tokenizer)
    )


def _normalizers(tokenizer: Tokenizer) -> set[str]:
    """The kinds of a tokenizer's normalizers."""
    if tokenizer.normalizer is None:
        return set()
    normalizer = _described(tokenizer.normalizer)
    return {each["type"] for each in normalizer.get("normalizers", [normalizer])}


def _may_span_words(token: AddedToken, tokenizer: Tokenizer) -> bool:
    """Whether a token that was added to the vocabulary may be found across a space.

    Some are looked for in normalized text, in which spaces of every kind have become one.
    """
    if not (token.normalized and tokenizer.normalizer):
        return " " in token.content
    normalized = tokenizer.normalizer.normalize_str(token.content)
    return not normalized or " " in normalized


def _comes_once(tokenizer: Tokenizer) -> bool:
    """Whether a text is in what becomes of it once, whatever special tokens there are around it."""
    if tokenizer.post_processor is None:
        return True
    processor = _described(tokenizer.post_processor)
    if processor["type"] != "TemplateProcessing":
        return processor["type"] == "BertProcessing"
    return sum("Sequence" in part for part in processor["single"]) == 1


def _described(part: normalizers.Normalizer | processors.PostProcessor) -> dict[str, Any]:
    """A part of a tokenizer as its file has it."""
    return cast("dict[str, Any]", json.loads(part.__getstate__()))


def _packed(ids: list[int]) -> bytes:
    return np.array(ids, dtype=np.int64).tobytes()
