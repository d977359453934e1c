import numpy as np
import pytest

from vecserve_server.models.inputs import InvalidItemsError, TextInputs, TokenInputs
from vecserve_server.models.model import TextModel

TEXTS = ["the cat sat on the mat", "hello", "猫 кот"]


def inputs(rows: list[list[int]], lengths: list[int]) -> TokenInputs:
    mask = np.arange(len(rows[0])) < np.array(lengths)[:, np.newaxis]
    return TokenInputs(np.array(rows), mask.astype(np.int64))


def problems(model: TextModel, tokens: TokenInputs) -> dict[int, str]:
    with pytest.raises(InvalidItemsError) as refusal:
        model.prepare(tokens)
    return dict(refusal.value.problems)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_tokens_become_the_items_that_their_texts_become(text_model: TextModel, dtype: type) -> None:
    expected = text_model.prepare(TextInputs(TEXTS))
    padded = text_model.collate([item.payload for item in expected])

    items = text_model.prepare(TokenInputs(padded["input_ids"].astype(dtype), padded["attention_mask"].astype(dtype)))

    for item, other in zip(items, expected, strict=True):
        assert item.payload.dtype == np.int64
        assert item.payload.tolist() == other.payload.tolist()
        assert (item.size, item.token_count, item.truncated) == (other.size, other.token_count, False)


def test_padding_may_be_anything(text_model: TextModel) -> None:
    (item,) = text_model.prepare(inputs([[2, 7, 3, -1, 10**9]], [3]))

    assert item.payload.tolist() == [2, 7, 3]


def test_an_id_outside_the_vocabulary_is_refused(text_model: TextModel) -> None:
    # The tiny vocabulary: 5 special tokens, 26 letters twice, 15 words.
    last = 5 + 2 * 26 + 15 - 1
    text_model.prepare(inputs([[0, last]], [2]))

    assert problems(text_model, inputs([[0, last + 1], [1, 1], [-1, 1]], [2, 2, 2])) == {
        0: f"has the token id {last + 1}, and the vocabulary's run from 0 to {last}",
        2: f"has the token id -1, and the vocabulary's run from 0 to {last}",
    }


def test_a_row_without_tokens_is_refused(text_model: TextModel) -> None:
    assert problems(text_model, inputs([[2, 3], [2, 3]], [2, 0])) == {
        1: "has no tokens: its attention_mask is all zeros"
    }


@pytest.mark.parametrize("mask", [[0, 1, 1], [1, 0, 1], [2, 1, 0], [-1, 1, 1]])
def test_a_mask_that_is_not_ones_followed_by_zeros_is_refused(text_model: TextModel, mask: list[int]) -> None:
    tokens = TokenInputs(np.array([[2, 7, 3]]), np.array([mask]))

    assert problems(text_model, tokens) == {0: "has an attention_mask that is not ones followed by zeros"}


def test_more_tokens_than_the_model_reads_are_refused(text_model: TextModel) -> None:
    text_model.prepare(inputs([[7] * 65], [64]))

    assert problems(text_model, inputs([[7] * 65], [65])) == {
        0: "has 65 tokens, and the model reads at most 64: shorten it"
    }


def test_the_estimate_counts_tokens_and_no_padding(text_model: TextModel) -> None:
    assert text_model.estimate(inputs([[7] * 9, [7] * 9], [4, 9])) == 13


def test_a_row_without_tokens_counts_for_something(text_model: TextModel) -> None:
    # The engine takes a size of 0 for a call without inputs.
    assert text_model.estimate(inputs([[7, 7]], [0])) == 1


def test_a_part_has_its_rows(text_model: TextModel) -> None:
    part = inputs([[1, 2], [3, 4], [5, 6]], [1, 2, 1]).part(slice(1, 3))

    assert len(part) == 2
    assert (part.ids.tolist(), part.mask.tolist()) == ([[3, 4], [5, 6]], [[1, 1], [1, 0]])
