"""What sentence-transformers' files say of a model, where it has them."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from vecserve_export.errors import SourceError, UnsupportedModelError

Normalization = Literal["none", "l2"]

_EXPORTABLE = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])


@dataclass(frozen=True, slots=True)
class SentenceConfig:
    """How vectors are made of an encoder's outputs; the defaults are those of a model without such files."""

    encoder_directory: Path
    pooling_modes: tuple[str, ...] = ()
    """By sentence-transformers' names. Several are concatenated there, and none means that nothing is said."""
    normalization: Normalization = "none"
    max_token_count: int | None = None
    lowercase: bool = False
    prompts: dict[str, str] = field(default_factory=dict[str, str])
    default_prompt: str = ""
    """Name of the prompt that sentence-transformers would add unasked; empty for none."""


def read_sentence_config(directory: Path) -> SentenceConfig:
    """Reads `modules.json` and the files that it leads to.

    Raises:
        SourceError: a file can't be read, or is not what sentence-transformers writes.
        UnsupportedModelError: the model has a module that can't be exported, such as a Dense layer.
    """
    if not (directory / "modules.json").is_file():
        return SentenceConfig(directory)
    try:
        return _read_modules(directory)
    except (AttributeError, KeyError, TypeError) as error:
        raise SourceError(f"{directory}: sentence-transformers' files are malformed: {error!r}") from error


def _read_modules(directory: Path) -> SentenceConfig:
    modules = cast("list[dict[str, str]]", _read_json(directory / "modules.json"))
    kinds = [module["type"].rpartition(".")[2] for module in modules]
    if kinds not in _EXPORTABLE:
        raise UnsupportedModelError(
            f"{directory / 'modules.json'} chains {' -> '.join(kinds)}. Transformer -> Pooling, with Normalize after "
            "it or not, can be exported; other modules can't"
        )
    encoder_directory = directory / modules[0]["path"]
    limits = _first_json(encoder_directory, "sentence_*_config.json")
    pooling = _first_json(directory / modules[1]["path"], "config.json")
    prompting = _first_json(directory, "config_sentence_transformers.json")
    prompts = cast("dict[str, str]", prompting.get("prompts") or {})
    if any(prompts.values()) and pooling.get("include_prompt") is False:
        raise UnsupportedModelError(f"{directory} leaves its prompts' tokens out of pooling, which can't be exported")
    return SentenceConfig(
        encoder_directory=encoder_directory,
        pooling_modes=_pooling_modes(pooling),
        normalization="l2" if "Normalize" in kinds else "none",
        max_token_count=limits.get("max_seq_length"),
        lowercase=bool(limits.get("do_lower_case", False)),
        prompts=prompts,
        default_prompt=prompting.get("default_prompt_name") or "",
    )


def _pooling_modes(config: dict[str, Any]) -> tuple[str, ...]:
    """Modes from version 6's `pooling_mode`, or from the booleans that came before it."""
    modes: str | list[str] | None = config.get("pooling_mode")
    if modes is not None:
        return (modes,) if isinstance(modes, str) else tuple(modes)
    prefix = "pooling_mode_"
    chosen = (key.removeprefix(prefix) for key, value in config.items() if key.startswith(prefix) and value is True)
    names = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max"}
    return tuple(names.get(name, name) for name in chosen)


def _first_json(directory: Path, pattern: str) -> dict[str, Any]:
    """The first file of a pattern; empty where there is none."""
    files = sorted(directory.glob(pattern))
    return cast("dict[str, Any]", _read_json(files[0])) if files else {}


def _read_json(file: Path) -> object:
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise SourceError(f"{file} can't be read: {error}") from error
