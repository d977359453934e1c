"""What is known of encoders whose files don't say how their vectors are meant to be made.

Many copies hold `config.json`, weights and a tokenizer, and neither pooling nor prompts: those stand in the text that
their authors publish beside them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from vecserve_export.progress import notice
from vecserve_export.sentence_config import Normalization, SentenceConfig


@dataclass(frozen=True, slots=True)
class Family:
    """How a family of encoders is used."""

    names: re.Pattern[str]
    pooling: str
    normalization: Normalization
    prompts: Mapping[str, str]


FAMILIES = (
    # https://huggingface.co/intfloat/e5-base-v2
    Family(
        re.compile(r"(multilingual-)?e5-(small|base|large)(-v2)?"),
        pooling="mean",
        normalization="l2",
        prompts={"query": "query: ", "passage": "passage: "},
    ),
    # https://huggingface.co/BAAI/bge-base-en-v1.5
    Family(
        re.compile(r"bge-(small|base|large)-en(-v1\.5)?"),
        pooling="cls",
        normalization="l2",
        prompts={"query": "Represent this sentence for searching relevant passages: ", "passage": ""},
    ),
    # https://huggingface.co/BAAI/bge-base-zh-v1.5
    Family(
        re.compile(r"bge-(small|base|large)-zh(-v1\.5)?"),
        pooling="cls",
        normalization="l2",
        prompts={"query": "为这个句子生成表示以用于检索相关文章：", "passage": ""},  # noqa: RUF001 (Chinese has a colon of its own)
    ),
)


def complete(config: SentenceConfig, name: str) -> SentenceConfig:
    """Adds what is known of the family that a model's name tells, where its own files say nothing.

    Args:
        config: What the files say.
        name: Of the model's directory or repository, in lower case.
    """
    family = next((family for family in FAMILIES if family.names.fullmatch(name)), None)
    if family is None:
        return config
    if not config.pooling_modes:
        notice(f"{name} says nothing of pooling: taking {family.pooling} and {family.normalization}, as its family has")
        config = replace(config, pooling_modes=(family.pooling,), normalization=family.normalization)
    if not any(config.prompts.values()):
        notice(f"{name} has no prompts in its files: taking those of its family, {', '.join(family.prompts)}")
        config = replace(config, prompts=dict(family.prompts))
    return config
