from typing import Any

import pytest

from vecserve_export.errors import SourceError, UnsupportedModelError
from vecserve_export.sentence_config import SentenceConfig, read_sentence_config


def test_a_model_without_such_files_states_nothing(tmp_path: Any) -> None:
    assert read_sentence_config(tmp_path) == SentenceConfig(tmp_path)


@pytest.mark.parametrize(
    ("pooling", "modes"),
    [
        ({"pooling_mode": "cls"}, ("cls",)),
        ({"pooling_mode": ["mean"]}, ("mean",)),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, ("mean",)),
        ({"pooling_mode_cls_token": True, "pooling_mode_max_tokens": True}, ("cls", "max")),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, ("mean_sqrt_len_tokens",)),
    ],
)
def test_pooling_is_read_from_old_and_new_files(
    sentence_directory: Any, pooling: object, modes: tuple[str, ...]
) -> None:
    assert read_sentence_config(sentence_directory(pooling=pooling)).pooling_modes == modes


def test_vectors_are_normalized_by_default_only_where_a_module_says_so(sentence_directory: Any) -> None:
    assert read_sentence_config(sentence_directory(modules=("Transformer", "Pooling"))).normalization == "none"


@pytest.mark.parametrize(
    "chain", [("Transformer", "Pooling", "Dense"), ("WordEmbeddings", "Pooling"), ("Transformer",)]
)
def test_other_modules_are_refused_by_name(sentence_directory: Any, chain: tuple[str, ...]) -> None:
    directory = sentence_directory(modules=chain)
    with pytest.raises(UnsupportedModelError, match=f"chains {' -> '.join(chain)}"):
        read_sentence_config(directory)


def test_prompts_left_out_of_pooling_are_refused(sentence_directory: Any) -> None:
    directory = sentence_directory(
        pooling={"pooling_mode": "mean", "include_prompt": False}, prompting={"prompts": {"query": "find: "}}
    )
    with pytest.raises(UnsupportedModelError, match="leaves its prompts' tokens out of pooling"):
        read_sentence_config(directory)


@pytest.mark.parametrize("content", ["{", '{"idx": 0}', '[{"idx": 0}]'])
def test_malformed_files_are_named(sentence_directory: Any, content: str) -> None:
    directory = sentence_directory()
    (directory / "modules.json").write_text(content)
    with pytest.raises(SourceError, match="tiny-sentence-bert"):
        read_sentence_config(directory)
