"""Token ids that callers bring, checked: the graph fails on what it has no embedding for, and with it a whole batch."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecserve_server.models.inputs import InvalidItemsError, PreparedItem, TokenInputs


def prepare_tokens(inputs: TokenInputs, max_token_count: int, vocabulary_size: int) -> list[PreparedItem]:
    """One item per row, in order, without its padding.

    Raises:
        InvalidItemsError: a row has no tokens, too many, one that is not in the vocabulary, or a mask that is not ones
            followed by zeros.
    """
    items: list[PreparedItem] = []
    problems: dict[int, str] = {}
    for index, (ids, mask) in enumerate(zip(inputs.ids, inputs.mask, strict=True)):
        count = int(np.count_nonzero(mask))
        tokens = ids[:count].astype(np.int64)
        if why := _refusal(tokens, mask[:count], max_token_count, vocabulary_size):
            problems[index] = why
        items.append(PreparedItem(tokens, size=count, token_count=count))
    if problems:
        raise InvalidItemsError(problems)
    return items


def _refusal(
    tokens: NDArray[np.int64], mask: NDArray[np.integer[Any]], max_token_count: int, vocabulary_size: int
) -> str | None:
    if not len(tokens):
        return "has no tokens: its attention_mask is all zeros"
    if (mask != 1).any():
        return "has an attention_mask that is not ones followed by zeros"
    if len(tokens) > max_token_count:
        return f"has {len(tokens)} tokens, and the model reads at most {max_token_count}: shorten it"
    outside = tokens[(tokens < 0) | (tokens >= vocabulary_size)]
    if len(outside):
        return f"has the token id {outside[0]}, and the vocabulary's run from 0 to {vocabulary_size - 1}"
    return None
