"""Small models to export: real architectures with random weights and a tokenizer of single characters."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import onnx
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
)

from vecserve_export import pooled
from vecserve_export.bert import BertExport, export_bert
from vecserve_export.samples import texts
from vecserve_server.models.manifest import METADATA_PREFIX

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SIZE: Any = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48}

MakeDirectory = Callable[..., Path]


def write_wordpiece(directory: Path) -> int:
    """Writes BERT's vocabulary as older models have it, without `tokenizer.json`; returns its size."""
    characters = sorted({character for text in texts(64) for character in text.lower() if not character.isspace()})
    words = [*SPECIAL_TOKENS, *characters, *(f"##{character}" for character in characters)]
    (directory / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    options = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 10**30}
    write_json(directory / "tokenizer_config.json", options)
    return len(words)


def write_bytelevel(directory: Path) -> int:
    """Writes a tokenizer as RoBERTa's, of bytes; padding and truncation are left in it as trainers leave them."""
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocabulary = {token: i for i, token in enumerate([*specials, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    tokenizer = cast(Any, Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>")))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer.enable_padding(length=16, pad_id=1, pad_token="<pad>")
    tokenizer.enable_truncation(16)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", cls_token="<s>", sep_token="</s>",
        pad_token="<pad>", unk_token="<unk>", mask_token="<mask>",
    ).save_pretrained(directory)  # fmt: skip
    return len(vocabulary)


def write_json(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")


def save(model: PreTrainedModel, directory: Path) -> None:
    cast(Any, model).save_pretrained(directory)


@pytest.fixture(scope="session")
def bert_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sources") / "Tiny-BERT"
    directory.mkdir()
    size = write_wordpiece(directory)
    torch.manual_seed(0)
    save(BertModel(BertConfig(vocab_size=size, max_position_embeddings=48, **SIZE)), directory)
    return directory


@pytest.fixture(scope="session")
def roberta_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sources") / "tiny-roberta"
    directory.mkdir()
    size = write_bytelevel(directory)
    torch.manual_seed(1)
    config = RobertaConfig(vocab_size=size, max_position_embeddings=42, pad_token_id=1, **SIZE)
    save(RobertaModel(config), directory)
    return directory


@pytest.fixture(scope="session")
def distilbert_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sources") / "tiny-distilbert"
    directory.mkdir()
    size = write_wordpiece(directory)
    torch.manual_seed(2)
    config = DistilBertConfig(vocab_size=size, dim=32, n_layers=1, n_heads=4, hidden_dim=48, max_position_embeddings=40)
    save(DistilBertModel(config), directory)
    return directory


@pytest.fixture
def sentence_directory(bert_directory: Path, tmp_path: Path) -> MakeDirectory:
    """Makes the tiny BERT a sentence-transformers model, of the files that the arguments say."""

    def make(
        modules: tuple[str, ...] = ("Transformer", "Pooling", "Normalize"),
        pooling: object = None,
        limits: object = None,
        prompting: object = None,
    ) -> Path:
        directory = tmp_path / "tiny-sentence-bert"
        directory.mkdir()
        for file in bert_directory.iterdir():
            (directory / file.name).symlink_to(file)
        paths = ["", *(f"{i}_{kind}" for i, kind in enumerate(modules) if i)]
        chain = [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (kind, path) in enumerate(zip(modules, paths, strict=True))
        ]
        write_json(directory / "modules.json", chain)
        write_json(directory / "1_Pooling" / "config.json", pooling or {"pooling_mode": "mean"})
        write_json(directory / "sentence_bert_config.json", limits or {})
        write_json(directory / "config_sentence_transformers.json", prompting or {})
        return directory

    return make


@pytest.fixture(scope="session")
def tiny_models(
    tmp_path_factory: pytest.TempPathFactory, bert_directory: Path, roberta_directory: Path, distilbert_directory: Path
) -> Path:
    """A model repository of exports: `mean` and `cls` of the tiny BERT, `roberta` and `distilbert`."""
    out = tmp_path_factory.mktemp("exports")
    export_bert(BertExport(source=str(bert_directory), out=out, name="mean"))
    export_bert(BertExport(source=str(bert_directory), out=out, name="cls", pooling="cls"))
    export_bert(BertExport(source=str(roberta_directory), out=out, name="roberta"))
    export_bert(BertExport(source=str(distilbert_directory), out=out, name="distilbert"))
    return out


@pytest.fixture
def reuse_graph(tiny_models: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes exports take the graph of one in `tiny_models`: the same weights, and seconds of tracing saved."""

    def reuse(name: str) -> None:
        def copy_graph(
            module: object, inputs: object, dynamic_shapes: object, file: Path, facts: Mapping[str, str]
        ) -> None:
            graph = onnx.load(tiny_models / name / "1" / "model.onnx")
            onnx.helper.set_model_props(graph, {f"{METADATA_PREFIX}{field}": fact for field, fact in facts.items()})
            onnx.save(graph, file)

        monkeypatch.setattr(pooled, "write_graph", copy_graph)

    return reuse
