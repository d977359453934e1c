import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from vecserve_server.models.inputs import ImageInputs, InputLimits, TextInputs
from vecserve_server.models.manifest import (
    GRAPH_FILE,
    MANIFEST_FILE,
    METADATA_PREFIX,
    TOKENIZER_FILE,
    ArtifactError,
    Manifest,
    file_digest,
)
from vecserve_server.models.model import AnyModel, ImageModel, TextModel, open_artifact
from vecserve_server.models.session import SessionOptions

Rewrite = Callable[..., Path]


@pytest.fixture
def rewrite(text_artifact: Path, image_artifact: Path, tmp_path: Path) -> Rewrite:
    """Copies an artifact with other files or fields, all of their digests right."""

    def rewrite(kind: str, graph: bytes | None = None, tokenizer: bytes | None = None, **changes: Any) -> Path:
        directory = tmp_path / "altered" / "7"
        shutil.copytree({"text": text_artifact, "image": image_artifact}[kind], directory)
        manifest = Manifest.read(directory)
        if graph is not None:
            (directory / GRAPH_FILE).write_bytes(graph)
            changes["graph_digest"] = file_digest(directory / GRAPH_FILE)
        if tokenizer is not None:
            (directory / TOKENIZER_FILE).write_bytes(tokenizer)
            digest = file_digest(directory / TOKENIZER_FILE)
            changes["input"] = manifest.input.model_copy(update={"tokenizer_digest": digest})
        (directory / MANIFEST_FILE).write_text(manifest.model_copy(update=changes).model_dump_json())
        return directory

    return rewrite


def open_plainly(directory: Path) -> AnyModel:
    return open_artifact(directory, SessionOptions(), InputLimits())


def refusal(directory: Path) -> str:
    with pytest.raises(ArtifactError) as refused:
        open_plainly(directory)
    return str(refused.value)


def graph_with(inputs: dict[str, list[Any]], output: list[Any]) -> bytes:
    """A graph whose output is zeros of the shape, whatever its inputs hold."""
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["embeddings"]),
        *(helper.make_node("Identity", [name], [f"{name}_unused"]) for name in inputs),
    ]
    shape = helper.make_tensor(
        "shape", TensorProto.INT64, [len(output)], [d if isinstance(d, int) else 1 for d in output]
    )
    graph = helper.make_graph(
        nodes,
        "zeros",
        [helper.make_tensor_value_info(name, TensorProto.INT64, dims) for name, dims in inputs.items()],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, output)],
        [shape],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return with_metadata(model, precision="fp32", pooling="mean", **{"input.max_token_count": "64"})


def with_metadata(model: onnx.ModelProto, **facts: str) -> bytes:
    """The model, saying nothing of itself but the facts."""
    helper.set_model_props(model, {f"{METADATA_PREFIX}{field}": fact for field, fact in facts.items()})
    return model.SerializeToString()


TEXT_INPUTS: dict[str, list[Any]] = {"input_ids": ["b", "s"], "attention_mask": ["b", "s"]}


def test_name_and_version_are_the_directories(rewrite: Rewrite) -> None:
    model = open_plainly(rewrite("text"))

    assert isinstance(model, TextModel)
    assert (model.name, model.version, model.execution_provider) == ("altered", "7", "CPUExecutionProvider")


def test_an_opened_text_model_embeds(text_model: TextModel) -> None:
    items = text_model.prepare(TextInputs(["cat", "the mat"]))

    vectors = text_model.run([item.payload for item in items])

    assert (vectors.shape, vectors.dtype) == ((2, 8), np.float32)
    assert np.isfinite(vectors).all()


def test_an_opened_image_model_embeds_its_samples(image_model: ImageModel) -> None:
    assert isinstance(image_model, ImageModel)

    vectors = image_model.run([image_model.sample(16).payload] * 3)

    assert vectors.tolist() == [[0, 0, 0]] * 3


def test_limits_reach_the_preprocessing(image_artifact: Path, text_artifact: Path) -> None:
    limits = InputLimits(text_characters=3, image_bytes=3)
    text, image = (open_artifact(directory, SessionOptions(), limits) for directory in (text_artifact, image_artifact))
    assert isinstance(text, TextModel)
    assert isinstance(image, ImageModel)

    with pytest.raises(ValueError, match="at most 3"):
        text.prepare(TextInputs(["four"]))
    with pytest.raises(ValueError, match="at most 3"):
        image.prepare(ImageInputs([b"four"]))


@pytest.mark.parametrize(("file", "field"), [(GRAPH_FILE, "graph_digest"), (TOKENIZER_FILE, "input.tokenizer_digest")])
def test_an_altered_file_is_refused(rewrite: Rewrite, file: str, field: str) -> None:
    directory = rewrite("text")
    with (directory / file).open("ab") as appended:
        appended.write(b" ")

    message = refusal(directory)

    assert str(directory / file) in message
    assert f"manifest {field} is sha256:" in message
    assert file_digest(directory / file) in message


@pytest.mark.parametrize("file", [GRAPH_FILE, TOKENIZER_FILE, MANIFEST_FILE])
def test_a_missing_file_is_refused(rewrite: Rewrite, file: str) -> None:
    directory = rewrite("text")
    (directory / file).unlink()

    assert refusal(directory) == f"{directory / file}: No such file or directory"


@pytest.mark.parametrize("graph", [b"", b"no protobuf"])
def test_a_graph_that_does_not_load_is_refused(rewrite: Rewrite, graph: bytes) -> None:
    directory = rewrite("text", graph=graph)

    assert refusal(directory).startswith(f"{directory / GRAPH_FILE}: ONNX Runtime can't load it: ")


def test_a_graph_of_a_later_opset_is_refused(rewrite: Rewrite, text_artifact: Path) -> None:
    model = onnx.load(text_artifact / GRAPH_FILE)
    model.opset_import[0].version = 99

    assert "Opset 99" in refusal(rewrite("text", graph=model.SerializeToString()))


@pytest.mark.parametrize("tokenizer", [b"", b"{}", b"no json"])
def test_a_tokenizer_that_does_not_load_is_refused(rewrite: Rewrite, tokenizer: bytes) -> None:
    directory = rewrite("text", tokenizer=tokenizer)

    assert refusal(directory).startswith(f"{directory / TOKENIZER_FILE}: it can't be read as a tokenizer: ")


@pytest.mark.parametrize(
    ("kind", "lie", "message"),
    [
        ("text", {"dimensionality": 16}, "supported_dimensionalities [4, 8] must rise to dimensionality 16"),
        (
            "text",
            {"dimensionality": 16, "supported_dimensionalities": [16]},
            f"{GRAPH_FILE}: manifest dimensionality is 16, and the graph's output ['batch', 8]",
        ),
        ("text", {"supported_dimensionalities": [4]}, "supported_dimensionalities [4] must rise to dimensionality 8"),
        ("text", {"graph_digest": f"sha256:{'0' * 64}"}, "manifest graph_digest is sha256:00"),
        ("text", {"input.tokenizer_digest": f"sha256:{'0' * 64}"}, "manifest input.tokenizer_digest is sha256:00"),
        ("text", {"output": "pooled"}, "manifest output is 'pooled', and the graph has ['embeddings']"),
        (
            "text",
            {"precision": "int8"},
            f"{GRAPH_FILE}: manifest precision is 'int8', and the graph's metadata says 'fp32'",
        ),
        ("text", {"pooling": "cls"}, "manifest pooling is 'cls', and the graph's metadata says 'mean'"),
        ("image", {"pooling": "logits"}, "manifest pooling is 'logits', and the graph's metadata says 'pool'"),
        (
            "text",
            {"input.max_token_count": 512},
            "manifest input.max_token_count is '512', and the graph's metadata says '64'",
        ),
        (
            "image",
            {"input.crop_size": 6},
            f"{GRAPH_FILE}: manifest input.crop_size is 6, and the graph's input ['batch', 8, 8, 3]",
        ),
        ("text", {"fidelity.min_cosine": 0.9}, "fidelity.min_cosine is 0.9000000, and at least 0.98 is asked for"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_a_manifest_that_lies_is_refused_with_the_field(
    rewrite: Rewrite, kind: str, lie: dict[str, Any], message: str
) -> None:
    directory = rewrite(kind)
    edit(directory, lie)

    assert message in refusal(directory)


def edit(directory: Path, changes: dict[str, Any]) -> None:
    fields = json.loads((directory / MANIFEST_FILE).read_text())
    for path, value in changes.items():
        record, _, name = path.rpartition(".")
        (fields[record] if record else fields)[name] = value
    (directory / MANIFEST_FILE).write_text(json.dumps(fields))


@pytest.mark.parametrize("field", ["precision", "pooling", "input.max_token_count"])
def test_a_graph_that_does_not_say_what_it_is_is_refused(rewrite: Rewrite, text_artifact: Path, field: str) -> None:
    graph = onnx.load(text_artifact / GRAPH_FILE)
    facts = {**Manifest.read(text_artifact).graph_facts}
    del facts[field]

    message = refusal(rewrite("text", graph=with_metadata(graph, **facts)))

    assert f"manifest {field} is '" in message
    assert f"the graph's metadata lacks vecserve.{field}: export the model anew" in message


@pytest.mark.parametrize("output", [["b", "s", 8], [8], []])
def test_an_output_that_is_not_one_vector_for_each_input_is_refused(rewrite: Rewrite, output: list[Any]) -> None:
    message = refusal(rewrite("text", graph=graph_with(TEXT_INPUTS, output)))

    assert "manifest dimensionality is 8, and the graph's output" in message


def test_a_graph_of_another_modality_is_refused(rewrite: Rewrite, image_artifact: Path) -> None:
    message = refusal(rewrite("text", graph=(image_artifact / GRAPH_FILE).read_bytes()))

    assert "manifest input.modality 'text' takes ['attention_mask', 'input_ids']" in message
    assert "this one takes ['pixels']" in message


def test_a_graph_with_one_input_more_is_refused(rewrite: Rewrite) -> None:
    graph = graph_with({**TEXT_INPUTS, "token_type_ids": ["b", "s"]}, ["b", 8])

    assert "this one takes ['attention_mask', 'input_ids', 'token_type_ids']" in refusal(rewrite("text", graph=graph))


def test_a_graph_that_computes_another_shape_than_it_declares_fails_its_run(rewrite: Rewrite) -> None:
    model = open_plainly(rewrite("text", graph=graph_with(TEXT_INPUTS, ["b", 8])))

    with pytest.raises(ArtifactError, match=r"computed \(1, 8\) where \(2, 8\) was due"):
        model.run([model.sample(4).payload] * 2)
