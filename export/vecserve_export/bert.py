"""Exports an encoder of the BERT family, its pooling inside the graph."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from vecserve_export import probes, samples
from vecserve_export.artifact import Published, publish, staging, tool_versions
from vecserve_export.encoder import (
    encode,
    encodings,
    load_encoder,
    load_tokenizer,
    position_limit,
    tokenizer_limit,
    write_tokenizer,
)
from vecserve_export.errors import ExportError, UnsupportedModelError
from vecserve_export.families import complete
from vecserve_export.fidelity import Precision
from vecserve_export.graph import OUTPUT
from vecserve_export.half import fuse_attention
from vecserve_export.pooled import Pooling, write_encoder
from vecserve_export.progress import notice, step
from vecserve_export.quantization import calibration
from vecserve_export.quantization.int8 import quantize
from vecserve_export.sentence_config import Normalization, SentenceConfig, read_sentence_config
from vecserve_export.sources import default_name, resolve, weights_digest
from vecserve_export.verify import UNMEASURED, Reference, verify
from vecserve_server.models.inputs import TextInputs
from vecserve_server.models.manifest import GRAPH_FILE, TOKENIZER_FILE, Manifest, Source, TextInput, file_digest


@dataclass(frozen=True, slots=True)
class BertExport:
    """What to export, and as what. None leaves a choice to the model's own files."""

    source: str
    out: Path
    revision: str | None = None
    name: str | None = None
    pooling: Pooling | None = None
    normalization: Normalization | None = None
    max_tokens: int | None = None
    prompts: Mapping[str, str] = field(default_factory=dict[str, str])
    """Texts to put before inputs, by the name that calls ask for; they come on top of the model's own."""
    precision: Precision = "fp32"


def export_bert(options: BertExport) -> Published:
    """Exports an encoder and its tokenizer, compares them with transformers, and publishes the artifact.

    Raises:
        ExportError: the source can't be had or exported, the graph differs from PyTorch, or the artifact can't be
            written. Nothing is published then.
    """
    name = options.name or default_name(options.source)
    with staging(options.out, name) as directory:
        files = resolve(options.source, options.revision)
        config = complete(read_sentence_config(files.directory), default_name(options.source))
        pooling = options.pooling or _pooling(config)

        with step(f"Loading {files.uri}"):
            encoder = load_encoder(config.encoder_directory)
            tokenizer = load_tokenizer(config.encoder_directory, config.lowercase)
            write_tokenizer(tokenizer, directory / TOKENIZER_FILE)
        stated = (config.max_token_count, tokenizer_limit(tokenizer))
        max_tokens = _max_tokens(options.max_tokens, position_limit(encoder), stated)
        _check_room(max_tokens, tokenizer.num_special_tokens_to_add())

        with step("Computing vectors in PyTorch"):
            odd, ordinary = (
                Reference(TextInputs(texts), encode(encoder, tokenizer, texts, pooling, max_tokens))
                for texts in (samples.texts(max_tokens), probes.texts())
            )
            dimensionality = ordinary.vectors.shape[1]

        with step("Exporting the graph"):
            facts = {"precision": options.precision, "pooling": pooling, "input.max_token_count": str(max_tokens)}
            # Only now: half() changes the encoder itself.
            computing = encoder.half() if options.precision == "fp16" else encoder
            write_encoder(computing, pooling, facts, directory / GRAPH_FILE)
            if options.precision == "fp16":
                fuse_attention(directory / GRAPH_FILE)
        if options.precision == "int8":
            with step("Quantizing"):
                texts = calibration.texts(max_tokens)
                quantize(directory / GRAPH_FILE, encodings(tokenizer, texts, max_tokens))

        manifest = Manifest(
            graph_digest=file_digest(directory / GRAPH_FILE),
            input=TextInput(
                max_token_count=max_tokens,
                pad_token_id=cast("int | None", tokenizer.pad_token_id) or 0,
                tokenizer_digest=file_digest(directory / TOKENIZER_FILE),
                prompts={**config.prompts, **options.prompts},
            ),
            output=OUTPUT,
            dimensionality=dimensionality,
            supported_dimensionalities=(dimensionality,),
            pooling=pooling,
            normalization=options.normalization or config.normalization,
            precision=options.precision,
            source=Source(uri=files.uri, digest=weights_digest(config.encoder_directory)),
            fidelity=UNMEASURED,
            exported_at=datetime.now(UTC),
            exported_with=tool_versions("transformers"),
        )
        with step("Comparing the graph with PyTorch"):
            verify(directory, manifest, odd, ordinary)
        if config.default_prompt:
            notice(f"sentence-transformers adds the prompt '{config.default_prompt}' unasked; callers here must ask")
        return publish(directory, options.out, name)


def _pooling(config: SentenceConfig) -> Pooling:
    match config.pooling_modes:
        case () | ("mean",):
            return "mean"
        case ("cls",):
            return "cls"
        case modes:
            raise UnsupportedModelError(
                f"the model pools by {' + '.join(modes)}; mean and cls can be exported. --pooling mean or --pooling "
                "cls takes one of them all the same, and makes other vectors than the model was trained for"
            )


def _max_tokens(asked: int | None, positions: int | None, stated: tuple[int | None, ...]) -> int:
    """The token limit: what was asked for, or the smallest that the model's files state."""
    if asked is not None and positions is not None and asked > positions:
        raise ExportError(f"--max-tokens {asked} exceeds the {positions} tokens that the model has positions for")
    known = [limit for limit in (positions, *stated) if limit is not None]
    if asked is None and not known:
        raise ExportError("the model's files state no limit of tokens: give one with --max-tokens")
    return asked if asked is not None else min(known)


def _check_room(max_tokens: int, special_tokens: int) -> None:
    if max_tokens <= special_tokens:
        raise ExportError(f"{max_tokens} tokens leave no room for a text beside the {special_tokens} special ones")
