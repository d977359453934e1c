"""Encoders and tokenizers, loaded by transformers from a directory."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, normalizers
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from vecserve_export.errors import SourceError, UnsupportedModelError, listed
from vecserve_export.progress import quiet_transformers

_NO_LIMIT = 10**6
"""Tokenizers without a limit state one of 1e30."""


def load_encoder(directory: Path) -> PreTrainedModel:
    """The encoder in fp32, in evaluation mode.

    Raises:
        SourceError: configuration or weights can't be read, or weights are missing.
        UnsupportedModelError: the model is not an encoder of tokens.
    """
    config = _load_config(directory)
    try:
        # Eager attention makes a plainer graph than scaled_dot_product_attention, and a few percent faster.
        with quiet_transformers():
            loaded = cast(Any, AutoModel).from_pretrained(
                directory,
                config=config,
                dtype=torch.float32,
                attn_implementation="eager",
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise SourceError(f"{directory}: the weights can't be loaded: {error}") from error
    model, report = cast("tuple[PreTrainedModel, dict[str, set[str]]]", loaded)
    # The pooler is no part of mean or CLS pooling, and checkpoints often come without it.
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise SourceError(f"{directory}: the weights lack {listed(missing)}: they are of another model, or cut off")
    if model.main_input_name != "input_ids":
        raise UnsupportedModelError(
            f"{directory}: a {config.model_type} model takes {model.main_input_name}, not tokens"
        )
    return model.eval()


def _load_config(directory: Path) -> PreTrainedConfig:
    try:
        config = cast(PreTrainedConfig, AutoConfig.from_pretrained(directory))
    except (OSError, ValueError, KeyError) as error:
        raise SourceError(f"{directory}: config.json can't be read as a model's: {error}") from error
    # Encoders of tokens are those that were trained, or can be, to fill in masked ones.
    encodes = type(config) in MODEL_FOR_MASKED_LM_MAPPING
    decodes = config.is_encoder_decoder or getattr(config, "is_decoder", False)
    if not encodes or decodes:
        raise UnsupportedModelError(
            f"{directory} is a {config.model_type} model{' set up as a decoder' if encodes else ''}. Encoders of the "
            "BERT family can be exported: BERT, RoBERTa, DistilBERT, MPNet, ELECTRA, ModernBERT and the like"
        )
    return config


def position_limit(encoder: PreTrainedModel) -> int | None:
    """How many tokens the encoder has positions for; None where it states no limit."""
    for name, module in cast("Iterable[tuple[str, nn.Module]]", encoder.named_modules()):
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa and its kin count positions from the one after that of padding.
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return getattr(encoder.config, "max_position_embeddings", None)


def load_tokenizer(directory: Path, lowercase: bool) -> PreTrainedTokenizerBase:
    """The fast tokenizer: the directory's `tokenizer.json`, or one converted from its vocabulary.

    Args:
        directory: the encoder's.
        lowercase: whether texts are to be lowercased, whatever the tokenizer does by itself.

    Raises:
        SourceError: there is none that can be read.
        UnsupportedModelError: there is only one in Python, which the server can't run.
    """
    try:
        tokenizer = cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(directory))
    except Exception as error:  # a broken tokenizer.json comes as a bare Exception from Rust
        raise SourceError(f"{directory}: the tokenizer can't be loaded: {error}") from error
    if not tokenizer.is_fast:
        raise UnsupportedModelError(f"{directory}: {type(tokenizer).__name__} can't be converted to a tokenizer.json")
    if lowercase:
        backend = _backend(tokenizer)
        given = [backend.normalizer] if backend.normalizer else []
        cast(Any, backend).normalizer = normalizers.Sequence([normalizers.Lowercase(), *given])
    return tokenizer


def write_tokenizer(tokenizer: PreTrainedTokenizerBase, file: Path) -> None:
    """Writes `tokenizer.json` without padding and truncation: both belong to each call."""
    copy = Tokenizer.from_str(_backend(tokenizer).to_str())
    copy.no_padding()
    copy.no_truncation()
    # Its own `save` raises a bare Exception on a full disk.
    file.write_text(copy.to_str(pretty=True), encoding="utf-8")


def _backend(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    return cast(Tokenizer, cast(Any, tokenizer).backend_tokenizer)


def tokenizer_limit(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The longest text the tokenizer was made for, in tokens; None where it states none."""
    limit = cast(int, tokenizer.model_max_length)
    return limit if limit < _NO_LIMIT else None


def encodings(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_tokens: int
) -> Iterable[dict[str, NDArray[np.int64]]]:
    """The inputs of a graph for each text alone: `input_ids` and `attention_mask`, `(1, tokens)` int64."""
    for text in texts:
        encoding = tokenizer(text, truncation=True, max_length=max_tokens, return_tensors="np")
        names = ("input_ids", "attention_mask")
        yield {name: cast("NDArray[np.int64]", encoding[name]).astype(np.int64) for name in names}


@torch.inference_mode()
def encode(
    encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], pooling: str, max_tokens: int
) -> NDArray[np.float32]:
    """What transformers makes of texts, without padding: `(texts, hidden)` float32.

    Texts of one length go together, which takes half the time of one after another.
    """
    lengths = [len(ids) for ids in tokenizer(list(texts), truncation=True, max_length=max_tokens)["input_ids"]]
    vectors: dict[int, Tensor] = {}
    for length in set(lengths):
        alike = [i for i in range(len(texts)) if lengths[i] == length]
        batch = tokenizer([texts[i] for i in alike], truncation=True, max_length=max_tokens, return_tensors="pt")
        hidden: Tensor = encoder(**batch).last_hidden_state
        vectors.update(zip(alike, hidden.mean(dim=1) if pooling == "mean" else hidden[:, 0], strict=True))
    return torch.stack([vectors[i] for i in range(len(texts))]).numpy()
