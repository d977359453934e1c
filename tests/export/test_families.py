from pathlib import Path

import pytest

from vecserve_export.families import complete
from vecserve_export.sentence_config import SentenceConfig

SILENT = SentenceConfig(Path("model"))


@pytest.mark.parametrize("name", ["e5-small-v2", "e5-large", "multilingual-e5-base"])
def test_e5_has_mean_pooling_and_a_prompt_for_each_side(name: str) -> None:
    config = complete(SILENT, name)
    assert (config.pooling_modes, config.normalization) == (("mean",), "l2")
    assert config.prompts == {"query": "query: ", "passage": "passage: "}


@pytest.mark.parametrize("name", ["bge-small-en-v1.5", "bge-large-en", "bge-base-zh-v1.5"])
def test_bge_has_cls_pooling_and_a_prompt_for_queries_only(name: str) -> None:
    config = complete(SILENT, name)
    assert (config.pooling_modes, config.normalization) == (("cls",), "l2")
    assert config.prompts["query"]
    assert config.prompts["passage"] == ""


def test_what_a_models_own_files_say_goes_first() -> None:
    own = SentenceConfig(Path("model"), pooling_modes=("mean",), normalization="none", prompts={"query": "ask: "})
    assert complete(own, "bge-small-en-v1.5") == own


@pytest.mark.parametrize("name", ["bert-base-uncased", "e5-mistral-7b-instruct", "my-bge-small-en", "bge-m3"])
def test_nothing_is_supposed_of_other_names(name: str) -> None:
    assert complete(SILENT, name) is SILENT
