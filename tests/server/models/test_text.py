from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import transformers
from hardening.texts import attacks
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers

from vecserve_server.models.inputs import InputLimits, InvalidItemsError, PreparedItem, TextInputs, Truncation
from vecserve_server.models.manifest import TOKENIZER_FILE, ArtifactError, TextInput
from vecserve_server.models.model import TextModel
from vecserve_server.models.text import TextPreprocessor, pad
from vecserve_server.models.words import KnownWords

TEXTS = [
    "The cat sat on the mat",
    "a",
    " ",
    "\u200b",
    "hello,   world!\n\ttabs",
    "猫cat猫 кот ЖУК",
    "caf\u00e9 cafe\u0301",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 emoji",
    "عربى नमस्ते 한국어",
    "[CLS] the [SEP] cat [MASK] [PAD] [UNK]",
    "unbelievable" * 30,
    "cat " * 61 + "mat",
    "cat " * 62 + "mat",
    "cat mat hello world " * 100,
    "nul \x00 byte",
]

Tokenize = Callable[[Sequence[str], int, str], list[list[int]]]


@pytest.fixture(scope="session")
def spec(text_model: TextModel) -> TextInput:
    return text_model.spec


@pytest.fixture(scope="session")
def preprocessor(text_artifact: Path, spec: TextInput) -> TextPreprocessor:
    return TextPreprocessor(text_artifact / TOKENIZER_FILE, spec, InputLimits(text_characters=5000))


@pytest.fixture(scope="session")
def reference(text_artifact: Path, spec: TextInput) -> Tokenize:
    """Token ids as transformers reads the same tokenizer file, cut on a side."""

    def tokenize(texts: Sequence[str], limit: int = spec.max_token_count, cut: str = "right") -> list[list[int]]:
        fast = transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(text_artifact / TOKENIZER_FILE), truncation_side=cut
        )
        return fast(list(texts), truncation=True, max_length=limit, padding=False)["input_ids"]

    return tokenize


def _prepare(preprocessor: TextPreprocessor, inputs: TextInputs) -> list[PreparedItem]:
    """The items of one call; raises what is wrong with its texts."""
    (result,) = preprocessor.prepare_all([inputs])
    if isinstance(result, InvalidItemsError):
        raise result
    return result


@pytest.mark.parametrize(("truncation", "cut"), [(Truncation.END, "right"), (Truncation.START, "left")])
def test_a_long_text_of_which_a_part_is_read_has_the_tokens_of_the_whole(
    preprocessor: TextPreprocessor, reference: Tokenize, truncation: Truncation, cut: str
) -> None:
    texts = [attack.text for attack in attacks(4990)] + ["cat mat [SEP] hello world, " * 150]

    items = _prepare(preprocessor, TextInputs(texts, truncation))

    assert [item.payload.tolist() for item in items] == reference(texts, 64, cut)


@pytest.mark.parametrize(("truncation", "cut"), [(Truncation.END, "right"), (Truncation.START, "left")])
@pytest.mark.parametrize("prompt", ["", "query"])
def test_tokens_are_those_of_transformers(
    preprocessor: TextPreprocessor, reference: Tokenize, spec: TextInput, truncation: Truncation, cut: str, prompt: str
) -> None:
    prompts = {"": "", **spec.prompts}
    items = _prepare(preprocessor, TextInputs(TEXTS, truncation, prompt))

    prompted = [prompts[prompt] + text for text in TEXTS]
    assert [item.payload.tolist() for item in items] == reference(prompted, 64, cut)
    whole = [len(ids) for ids in reference(prompted, 10_000, cut)]
    assert [item.truncated for item in items] == [length > 64 for length in whole]
    assert [item.token_count for item in items] == [min(length, 64) for length in whole]
    assert all(item.size == item.token_count for item in items)


@given(
    text=st.text(min_size=1, max_size=80) | st.lists(st.sampled_from(TEXTS), min_size=1).map(" ".join),
    limit=st.integers(3, 20),
    side=st.sampled_from([(Truncation.END, "right"), (Truncation.START, "left")]),
)
def test_any_text_at_any_limit_is_read_as_transformers_reads_it(
    text_artifact: Path, spec: TextInput, reference: Tokenize, text: str, limit: int, side: tuple[Truncation, str]
) -> None:
    spec = spec.model_copy(update={"max_token_count": limit})
    preprocessor = TextPreprocessor(text_artifact / TOKENIZER_FILE, spec, InputLimits())

    (item,) = _prepare(preprocessor, TextInputs([text], side[0]))

    assert [item.payload.tolist()] == reference([text], limit, side[1])


@pytest.mark.parametrize("text", ["cat", "a" * 256, "a" * 257, "cat mat " * 100])
def test_a_text_is_read_alone_as_among_others(preprocessor: TextPreprocessor, text: str) -> None:
    (alone,) = _prepare(preprocessor, TextInputs([text], prompt="query"))
    among_others, _ = _prepare(preprocessor, TextInputs([text, "hello"], prompt="query"))

    assert alone.payload.tolist() == among_others.payload.tolist()
    assert (alone.truncated, alone.token_count) == (among_others.truncated, among_others.token_count)


def test_without_truncation_what_fits_is_read_whole(preprocessor: TextPreprocessor, reference: Tokenize) -> None:
    texts = ["cat " * 61 + "mat", "hello"]

    items = _prepare(preprocessor, TextInputs(texts, Truncation.NONE))

    assert [item.payload.tolist() for item in items] == reference(texts, 10_000, "right")
    assert [item.truncated for item in items] == [False, False]


def test_without_truncation_every_text_that_is_too_long_is_named(preprocessor: TextPreprocessor) -> None:
    with pytest.raises(InvalidItemsError) as refusal:
        _prepare(preprocessor, TextInputs(["cat " * 63, "cat", "cat " * 100], Truncation.NONE))

    assert refusal.value.problems == {
        0: "has 65 tokens or more, and the model reads at most 64: shorten it or allow truncation",
        2: "has 102 tokens or more, and the model reads at most 64: shorten it or allow truncation",
    }


def test_the_prompt_counts_as_tokens_of_the_text(preprocessor: TextPreprocessor) -> None:
    text = TextInputs(["cat " * 61], Truncation.NONE, "query")

    with pytest.raises(InvalidItemsError, match="has 65 tokens"):
        _prepare(preprocessor, text)


def test_all_that_is_wrong_with_a_batch_is_named_at_once_and_in_order(preprocessor: TextPreprocessor) -> None:
    texts = ["cat", "cat " * 63, "", "a" * 5001, "a" * 5000, ""]

    with pytest.raises(InvalidItemsError) as refusal:
        _prepare(preprocessor, TextInputs(texts, Truncation.NONE))

    assert list(refusal.value.problems.items()) == [
        (1, "has 65 tokens or more, and the model reads at most 64: shorten it or allow truncation"),
        (2, "is empty"),
        (3, "has 5001 characters, and at most 5000 are allowed"),
        (5, "is empty"),
    ]


def test_a_prompt_does_not_make_an_empty_text_valid(preprocessor: TextPreprocessor) -> None:
    with pytest.raises(InvalidItemsError, match="item 0 is empty"):
        _prepare(preprocessor, TextInputs([""], prompt="query"))


def test_a_batch_of_nothing_but_refused_texts_is_refused(preprocessor: TextPreprocessor) -> None:
    with pytest.raises(InvalidItemsError) as refusal:
        _prepare(preprocessor, TextInputs(["", ""]))

    assert refusal.value.problems == {0: "is empty", 1: "is empty"}


def test_padding_fills_to_the_longest_and_masks_it() -> None:
    payloads = [np.array(ids, np.int64) for ids in ([5, 6], [7], [8, 9, 10])]

    feeds = pad(payloads, pad_token_id=4)

    assert feeds["input_ids"].tolist() == [[5, 6, 4], [7, 4, 4], [8, 9, 10]]
    assert feeds["attention_mask"].tolist() == [[1, 1, 0], [1, 0, 0], [1, 1, 1]]
    assert {name: feed.dtype for name, feed in feeds.items()} == {"input_ids": np.int64, "attention_mask": np.int64}


def test_an_estimate_counts_every_text_and_no_more_than_the_model_reads(text_model: TextModel) -> None:
    assert text_model.estimate(TextInputs(["", "a" * 40, "a" * 100_000])) == 2 + 12 + 64


def test_a_sample_is_no_longer_than_the_model_reads(text_model: TextModel) -> None:
    assert text_model.sample(10_000).payload.shape == (64,)


def test_a_limit_without_room_beside_the_special_tokens_is_refused(text_artifact: Path) -> None:
    spec = TextInput(max_token_count=2, pad_token_id=0, tokenizer_digest=f"sha256:{'0' * 64}")

    with pytest.raises(ArtifactError, match="max_token_count is 2, which leaves no room beside the 2 special tokens"):
        TextPreprocessor(text_artifact / TOKENIZER_FILE, spec, InputLimits())


def test_a_text_in_which_a_bare_tokenizer_finds_nothing_is_refused(tmp_path: Path) -> None:
    spec = TextInput(max_token_count=8, pad_token_id=0, tokenizer_digest=f"sha256:{'0' * 64}")
    bare = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    bare.pre_tokenizer = pre_tokenizers.Whitespace()
    bare.save(str(tmp_path / TOKENIZER_FILE))

    with pytest.raises(InvalidItemsError) as refused:
        _prepare(TextPreprocessor(tmp_path / TOKENIZER_FILE, spec, InputLimits()), TextInputs(["a", " "]))

    assert refused.value.problems == {1: "has no tokens"}


def test_many_long_texts_are_tokenized_as_each_alone(text_model: TextModel) -> None:
    texts = ["the cat sat on " * count for count in (1, 6000, 2, 6000, 6000, 3)]

    together = text_model.prepare(TextInputs(texts))

    alone = [text_model.prepare(TextInputs([text]))[0] for text in texts]
    assert [item.payload.tolist() for item in together] == [item.payload.tolist() for item in alone]


def test_a_refused_text_is_named_by_its_place_among_long_ones(text_model: TextModel) -> None:
    texts = ["the", "cat " * 20_000, "", "cat " * 20_000]

    with pytest.raises(InvalidItemsError) as refused:
        text_model.prepare(TextInputs(texts, truncation=Truncation.NONE))

    assert list(refused.value.problems) == [1, 2, 3]


def test_texts_of_several_calls_are_read_together_as_each_call_says(preprocessor: TextPreprocessor) -> None:
    calls = [
        TextInputs(["cat " * 100], Truncation.START),
        TextInputs(["cat", ""]),
        TextInputs(["the cat", "mat"], prompt="query"),
        TextInputs(["cat " * 100], Truncation.NONE),
        TextInputs(["cat " * 1000 + "mat"], Truncation.START),
    ]

    first, refused, prompted, too_long, last = preprocessor.prepare_all(calls)

    for together, alone in ((first, calls[0]), (prompted, calls[2]), (last, calls[4])):
        assert not isinstance(together, InvalidItemsError)
        expected = [item.payload.tolist() for item in _prepare(preprocessor, alone)]
        assert [item.payload.tolist() for item in together] == expected
    assert isinstance(refused, InvalidItemsError)
    assert refused.problems == {1: "is empty"}
    assert isinstance(too_long, InvalidItemsError)
    assert list(too_long.problems) == [0]


@pytest.mark.parametrize(("known_words", "looked_up"), [(0, None), (1000, True)])
def test_a_text_that_came_before_is_looked_up_if_words_may_be_known(
    text_artifact: Path, spec: TextInput, monkeypatch: pytest.MonkeyPatch, known_words: int, looked_up: bool | None
) -> None:
    found: list[bool] = []

    class Watched(KnownWords):
        def ids(self, text: str) -> NDArray[np.int64] | None:
            ids = super().ids(text)
            found.append(ids is not None)
            return ids

    monkeypatch.setattr("vecserve_server.models.text.KnownWords", Watched)
    preprocessor = TextPreprocessor(text_artifact / TOKENIZER_FILE, spec, InputLimits(known_words=known_words))

    for _ in range(2):
        _prepare(preprocessor, TextInputs(["the cat sat"]))

    assert (found[-1] if found else None) == looked_up


@pytest.mark.parametrize("known_words", [0, 3, 1000])
def test_texts_come_out_the_same_however_many_words_are_known(
    text_artifact: Path, spec: TextInput, reference: Tokenize, known_words: int
) -> None:
    preprocessor = TextPreprocessor(text_artifact / TOKENIZER_FILE, spec, InputLimits(known_words=known_words))

    for _ in range(3):
        items = _prepare(preprocessor, TextInputs(TEXTS))
        assert [item.payload.tolist() for item in items] == reference(TEXTS, spec.max_token_count, "right")
