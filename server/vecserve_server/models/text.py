"""Texts to token ids, and token ids to padded batches."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from vecserve_server.models.inputs import (
    InputLimits,
    InvalidItemsError,
    Prepared,
    PreparedItem,
    TextInputs,
    Truncation,
)
from vecserve_server.models.manifest import ArtifactError, TextInput
from vecserve_server.models.words import KnownWords, splits_at_spaces

# Characters up to which a text is tokenized without letting go of the interpreter's lock, as only `encode_batch_fast`
# does: getting it back on a busy server took longer than the tokenization itself, 30 µs.
_SHORT = 256

# Characters that are tokenized at once, unless a single text has more: up to 500 bytes each while it lasts.
_GROUP_CHARACTERS = 65_536


# Characters of a long text that are tokenized for each token that a model reads; more only if they are not enough. 32
# are four to eight times what languages need.
_WINDOW_PER_TOKEN = 32

# Words at the end of a part that may be others in the whole text: a word cut in two, or a special token, which is one
# word only when it is complete.
_UNCERTAIN_WORDS = 32


class TextPreprocessor:
    """Tokenizes as the model was trained, and truncates as the caller asks. Thread-safe."""

    def __init__(self, tokenizer_file: Path, spec: TextInput, limits: InputLimits) -> None:
        self._spec = spec
        self._limits = limits
        self._tokenizer = _load(tokenizer_file)
        # Files often carry the padding and truncation of their training; both are decided here instead.
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.vocabulary_size = 1 + max(self._tokenizer.get_vocab().values(), default=-1)
        """Token ids are smaller than this."""
        self._window = max(_SHORT, _WINDOW_PER_TOKEN * spec.max_token_count)
        self._prefix, self._suffix = _special_token_counts(self._tokenizer)
        self._words: KnownWords | None = None
        if limits.known_words and splits_at_spaces(self._tokenizer):
            self._words = KnownWords(self._tokenizer, self._prefix, self._suffix, limits.known_words)
        if spec.max_token_count <= self._prefix + self._suffix:
            raise ArtifactError(
                f"{tokenizer_file.parent}: manifest input.max_token_count is {spec.max_token_count}, which leaves no "
                f"room beside the {self._prefix + self._suffix} special tokens of every text"
            )

    def prepare_all(self, calls: Sequence[TextInputs]) -> list[Prepared]:
        """Of each call one item per text, in order; or what is wrong with its texts.

        A text may be empty, too long in characters, or in tokens under `Truncation.NONE`; or a tokenizer without
        special tokens finds nothing in it.
        """
        results = iter(self._results([(text, inputs) for inputs in calls for text in inputs.texts]))
        return [_items(list(islice(results, len(inputs)))) for inputs in calls]

    def _results(self, texts: Sequence[tuple[str, TextInputs]]) -> list[PreparedItem | str]:
        """What becomes of each text, read as its call says: an item, or why there is none."""
        prompted = [self._prompt(inputs) + text for text, inputs in texts]
        results = [
            self._refusal(text) or self._recall(whole, inputs)
            for whole, (text, inputs) in zip(prompted, texts, strict=True)
        ]
        new = [i for i, result in enumerate(results) if result is None]
        short = [i for i in new if len(prompted[i]) <= self._window] if len(new) > 1 else []
        for i, encoding in zip(short, self._encodings([prompted[i] for i in short]), strict=True):
            results[i] = self._finish(_ids(encoding), texts[i][1])
        # Of the long ones one by one: what a tokenizer makes of a long text may take 100 MB.
        return [
            result or self._finish(_ids(self._encode_one(text, inputs)), inputs)
            for result, text, (_, inputs) in zip(results, prompted, texts, strict=True)
        ]

    def _prompt(self, inputs: TextInputs) -> str:
        return self._spec.prompts[inputs.prompt] if inputs.prompt else ""

    def _recall(self, text: str, inputs: TextInputs) -> PreparedItem | str | None:
        """What becomes of a text whose words are known; None if they are not."""
        if self._words is None or len(text) > self._window:
            return None
        ids = self._words.ids(text)
        return None if ids is None else self._finish(ids, inputs)

    def _finish(self, ids: NDArray[np.int64], inputs: TextInputs) -> PreparedItem | str:
        count, limit = len(ids), self._spec.max_token_count
        if 0 < count <= limit:
            return PreparedItem(ids, count, count)
        if not count:
            return "has no tokens"
        if inputs.truncation is Truncation.NONE:
            return f"has {count} tokens or more, and the model reads at most {limit}: shorten it or allow truncation"
        return PreparedItem(self._cut(ids, limit, inputs.truncation), limit, limit, truncated=True)

    def _encode_one(self, text: str, inputs: TextInputs) -> Encoding:
        if len(text) <= _SHORT:
            return self._tokenizer.encode(text)
        if len(text) <= self._window:
            return self._tokenizer.encode_batch_fast([text])[0]
        return self._encode_enough(text, inputs.truncation)

    def _encodings(self, texts: list[str]) -> Iterator[Encoding]:
        """Encodes as many texts at once as memory allows: encodings are many times as large as what is kept of them."""
        group: list[str] = []
        characters = 0
        for text in texts:
            if group and characters + len(text) > _GROUP_CHARACTERS:
                yield from self._tokenizer.encode_batch_fast(group)
                group, characters = [], 0
            group.append(text)
            characters += len(text)
        if group:
            yield from self._tokenizer.encode_batch_fast(group)

    def _encode_enough(self, text: str, truncation: Truncation) -> Encoding:
        """The tokens of as much of a long text as those that are kept depend on, from the end where they are kept.

        What follows a part can only change the part's last words, so that the tokens before these are the text's own.
        """
        size = self._window
        while size < len(text):
            part = text[-size:] if truncation is Truncation.START else text[:size]
            (encoding,) = self._tokenizer.encode_batch([part])  # the fast one tells no words
            if self._certain_tokens(encoding, truncation) > self._spec.max_token_count:
                return encoding
            size *= 4
        return self._tokenizer.encode_batch_fast([text])[0]

    def _certain_tokens(self, encoding: Encoding, truncation: Truncation) -> int:
        """How many tokens of a part stay the same whatever it is part of."""
        words = [word for word in encoding.word_ids if word is not None]
        last = max(words, default=0)
        if truncation is Truncation.START:
            return sum(word > _UNCERTAIN_WORDS for word in words)
        return sum(word < last - _UNCERTAIN_WORDS for word in words)

    def _refusal(self, text: str) -> str | None:
        if not text:
            return "is empty"
        if len(text) > self._limits.text_characters:
            return f"has {len(text)} characters, and at most {self._limits.text_characters} are allowed"
        return None

    def _cut(self, ids: NDArray[np.int64], limit: int, truncation: Truncation) -> NDArray[np.int64]:
        end = len(ids) - self._suffix
        prefix, content, suffix = ids[: self._prefix], ids[self._prefix : end], ids[end:]
        keep = limit - len(prefix) - len(suffix)
        content = content[len(content) - keep :] if truncation is Truncation.START else content[:keep]
        return np.concatenate([prefix, content, suffix])


def _ids(encoding: Encoding) -> NDArray[np.int64]:
    return np.array(encoding.ids, dtype=np.int64)


def _items(results: Sequence[PreparedItem | str]) -> Prepared:
    """The items of one call, if there is one for each of its texts."""
    problems = {i: result for i, result in enumerate(results) if isinstance(result, str)}
    return InvalidItemsError(problems) if problems else cast("list[PreparedItem]", results)


def pad(payloads: Sequence[NDArray[Any]], pad_token_id: int) -> Mapping[str, NDArray[Any]]:
    """Token ids of several texts as the graph's inputs: `input_ids` and `attention_mask`, `(batch, longest)` int64."""
    shape = len(payloads), max(map(len, payloads))
    input_ids = np.full(shape, pad_token_id, dtype=np.int64)
    attention_mask = np.zeros(shape, dtype=np.int64)
    for row, ids in enumerate(payloads):
        input_ids[row, : len(ids)] = ids
        attention_mask[row, : len(ids)] = 1
    return {"input_ids": input_ids, "attention_mask": attention_mask}


def _load(file: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing more specific
        raise ArtifactError(f"{file}: it can't be read as a tokenizer: {error}") from error


def _special_token_counts(tokenizer: Tokenizer) -> tuple[int, int]:
    """How many special tokens stand before and after every text."""
    mask = tokenizer.encode("a").special_tokens_mask
    return _leading_ones(mask), _leading_ones(mask[::-1])


def _leading_ones(mask: Sequence[int]) -> int:
    return next((i for i, special in enumerate(mask) if not special), len(mask))
