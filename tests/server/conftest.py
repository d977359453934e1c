"""Two tiny artifacts, real in every part: graph, tokenizer and manifest. They load and run in milliseconds."""

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import settings
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from vecserve_server.models.fidelity import Fidelity
from vecserve_server.models.inputs import InputLimits
from vecserve_server.models.manifest import (
    GRAPH_FILE,
    MANIFEST_FILE,
    METADATA_PREFIX,
    TOKENIZER_FILE,
    ImageInput,
    Manifest,
    Source,
    TextInput,
    file_digest,
)
from vecserve_server.models.model import ImageModel, TextModel, open_artifact
from vecserve_server.models.session import SessionOptions

# More examples find rarer schedules: VECSERVE_HYPOTHESIS_EXAMPLES=20000 runs for minutes.
settings.register_profile(
    "vecserve", max_examples=int(os.environ.get("VECSERVE_HYPOTHESIS_EXAMPLES", "300")), deadline=None
)
settings.load_profile("vecserve")

_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_WORDS = ["the", "cat", "sat", "on", "mat", "query", ":", "hello", "world", "猫", "кот", "##s", "hang", "nan", "crash"]
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_VOCABULARY = [*_SPECIAL, *_LETTERS, *(f"##{letter}" for letter in _LETTERS), *_WORDS]
_TEXT_DIMENSIONS = 8
_TEXT_TOKENS = 64
_IMAGE_EDGE = 8

FIDELITY = Fidelity(
    probe_set="texts-1",
    samples=256,
    max_absolute_error=0.25,
    min_cosine=0.985,
    p1_cosine=0.99,
    mean_cosine=0.995,
    max_similarity_error=0.05,
    mean_similarity_error=0.01,
    min_rank_correlation=0.97,
    mean_rank_correlation=0.98,
    mean_top10_overlap=0.9,
    max_batch_difference=1e-7,
    min_batch_cosine=0.999,
    bounds={"min_cosine": 0.98, "max_batch_difference": 1e-6},
)


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository: `tiny-text` and `tiny-image`, version 1 of each."""
    root = tmp_path_factory.mktemp("models")
    write_text_artifact(root / "tiny-text" / "1")
    _write_image_artifact(root / "tiny-image" / "1")
    return root


@pytest.fixture(scope="session")
def text_artifact(models_dir: Path) -> Path:
    """Mean of token embeddings.

    The word `nan` makes a vector NaN, the word `crash` fails the whole run, and with the word `hang` a run never ends.
    """
    return models_dir / "tiny-text" / "1"


@pytest.fixture(scope="session")
def image_artifact(models_dir: Path) -> Path:
    """Mean colour of the pixels: resized to 9, cropped to 8."""
    return models_dir / "tiny-image" / "1"


@pytest.fixture(scope="session")
def text_model(text_artifact: Path) -> TextModel:
    model = open_artifact(text_artifact, SessionOptions(), InputLimits())
    assert isinstance(model, TextModel)
    return model


@pytest.fixture(scope="session")
def image_model(image_artifact: Path) -> ImageModel:
    model = open_artifact(image_artifact, SessionOptions(), InputLimits())
    assert isinstance(model, ImageModel)
    return model


@pytest.fixture
def manifest_of() -> Callable[..., Manifest]:
    """Makes a valid manifest; keywords replace its fields."""
    return _manifest


@pytest.fixture(scope="session")
def write_text_version() -> Callable[..., None]:
    """Writes the artifact of `text_artifact` to a directory, as another version: `factor` scales its vectors."""
    return write_text_artifact


def write_text_artifact(directory: Path, factor: float = 1.0) -> None:
    directory.mkdir(parents=True)
    _tokenizer().save(str(directory / TOKENIZER_FILE))
    onnx.save(_text_graph(factor), directory / GRAPH_FILE)
    spec = TextInput(
        max_token_count=_TEXT_TOKENS,
        pad_token_id=0,
        tokenizer_digest=file_digest(directory / TOKENIZER_FILE),
        prompts={"query": "query: "},
    )
    manifest = _manifest(
        graph_digest=file_digest(directory / GRAPH_FILE),
        input=spec,
        dimensionality=_TEXT_DIMENSIONS,
        supported_dimensionalities=(4, _TEXT_DIMENSIONS),
        pooling="mean",
        normalization="l2",
    )
    (directory / MANIFEST_FILE).write_text(manifest.model_dump_json())


def _write_image_artifact(directory: Path) -> None:
    directory.mkdir(parents=True)
    onnx.save(_image_graph(), directory / GRAPH_FILE)
    manifest = _manifest(graph_digest=file_digest(directory / GRAPH_FILE))
    (directory / MANIFEST_FILE).write_text(manifest.model_dump_json())


def _manifest(**changes: Any) -> Manifest:
    fields: Mapping[str, Any] = {
        "graph_digest": f"sha256:{'0' * 64}",
        "input": ImageInput(
            resize_size=_IMAGE_EDGE + 1,
            crop_size=_IMAGE_EDGE,
            interpolation="bilinear",
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
        ),
        "output": "embeddings",
        "dimensionality": 3,
        "supported_dimensionalities": (3,),
        "pooling": "pool",
        "normalization": "none",
        "precision": "fp32",
        "source": Source(uri="random:0", digest=None, random=True),
        "fidelity": FIDELITY,
        "exported_at": datetime(2025, 1, 1, tzinfo=UTC),
        "exported_with": {"onnx": onnx.__version__},
    }
    return Manifest(**{**fields, **changes})


def _tokenizer() -> Tokenizer:
    """BERT's, with a small vocabulary; padding and truncation are left on, as in files of the hub."""
    vocabulary = {token: number for number, token in enumerate(_VOCABULARY)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    tokenizer.add_special_tokens(_SPECIAL)
    tokenizer.enable_padding(length=12, pad_id=0, pad_token="[PAD]")
    tokenizer.enable_truncation(12)
    return tokenizer


def _text_graph(factor: float) -> onnx.ModelProto:
    table = factor * np.random.default_rng(0).standard_normal((len(_VOCABULARY), _TEXT_DIMENSIONS)).astype(np.float32)
    table[_VOCABULARY.index("nan")] = np.nan
    table = table[: _VOCABULARY.index("crash")]  # the last word: its row is out of bounds
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["tokens"]),
        helper.make_node("Cast", ["attention_mask"], ["flat_mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["flat_mask", "last"], ["mask"]),
        helper.make_node("Mul", ["tokens", "mask"], ["read"]),
        helper.make_node("ReduceSum", ["read", "sequence"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["mask", "sequence"], ["count"], keepdims=0),
        helper.make_node("Div", ["sum", "count"], ["mean"]),
        *_hanging("mean", "embeddings"),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
        for name in ("input_ids", "attention_mask")
    ]
    constants = {
        "table": table,
        "last": np.array([-1], np.int64),
        "sequence": np.array([1], np.int64),
        "hang": np.array(_VOCABULARY.index("hang"), np.int64),
        "for_ever": np.array(10**15, np.int64),
        "continue": np.array(True),
    }
    facts = {"precision": "fp32", "pooling": "mean", "input.max_token_count": str(_TEXT_TOKENS)}
    return _model(nodes, inputs, _TEXT_DIMENSIONS, constants, facts)


def _hanging(source: str, target: str) -> list[onnx.NodeProto]:
    """Copies a tensor, as often as there are words `hang`, times a number that is never reached."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["going_on"]),
            helper.make_node("Identity", ["before"], ["after"]),
        ],
        "copying",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("going_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, None),
        ],
    )
    return [
        helper.make_node("Equal", ["input_ids", "hang"], ["hangs"]),
        helper.make_node("Cast", ["hangs"], ["hung"], to=TensorProto.INT64),
        helper.make_node("ReduceSum", ["hung"], ["words"], keepdims=0),
        helper.make_node("Mul", ["words", "for_ever"], ["rounds"]),
        helper.make_node("Loop", ["rounds", "continue", source], [target], body=body),
    ]


def _image_graph() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Cast", ["pixels"], ["colours"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["colours"], ["embeddings"], axes=[1, 2], keepdims=0),
    ]
    shape = ["batch", _IMAGE_EDGE, _IMAGE_EDGE, 3]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, shape)
    return _model(nodes, [pixels], 3, {}, {"precision": "fp32", "pooling": "pool"})


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    dimensions: int,
    constants: Mapping[str, Any],
    facts: Mapping[str, str],
) -> onnx.ModelProto:
    output = helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", dimensions])
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, [output], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    helper.set_model_props(model, {f"{METADATA_PREFIX}{field}": fact for field, fact in facts.items()})
    onnx.checker.check_model(model)
    return model
