import io
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from onnx.utils import extract_model
from PIL import Image
from safetensors.torch import save_file
from torchvision.models import ResNet50_Weights, resnet50
from torchvision.transforms.functional import convert_image_dtype, normalize

from vecserve_export import probes
from vecserve_export.cli import main
from vecserve_server.models.inputs import ImageInputs, InputLimits
from vecserve_server.models.manifest import ImageInput
from vecserve_server.models.model import ImageModel, open_artifact
from vecserve_server.models.session import SessionOptions


def opened(directory: Path) -> ImageModel:
    model = open_artifact(directory, SessionOptions(intra_op_threads=2), InputLimits())
    assert isinstance(model, ImageModel)
    return model


def encoded(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(7)
    shapes = [(300, 225, 3), (97, 501, 3), (240, 240, 4), (33, 35)]
    return [Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)) for shape in shapes]


def by_torchvision(network: Any, pictures: list[Image.Image], **sizes: int) -> NDArray[np.float32]:
    transforms = ResNet50_Weights.IMAGENET1K_V2.transforms(**sizes)
    with torch.no_grad():
        return network.eval()(torch.stack([transforms(picture.convert("RGB")) for picture in pictures])).numpy()


def assert_same_vectors(model: ImageModel, pictures: list[Image.Image], expected: NDArray[np.float32]) -> None:
    items = model.prepare(ImageInputs([encoded(picture) for picture in pictures]))
    vectors = model.run([item.payload for item in items])
    # Random weights put out values in the hundreds, and fp32 rounds in proportion.
    np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-6 * float(np.abs(expected).max()))


def test_pixels_are_normalized_bit_for_bit_as_by_torchvision(example_models: Path, tmp_path: Path) -> None:
    graph_file = example_models / "resnet50" / "1" / "model.onnx"
    first_convolution = next(node for node in onnx.load(graph_file).graph.node if node.op_type == "Conv")
    normalized = first_convolution.input[0]
    extract_model(graph_file, tmp_path / "normalize.onnx", ["pixels"], [normalized])
    every_value = np.resize(np.arange(256, dtype=np.uint8).repeat(3), (2, 224, 224, 3))
    session = ort.InferenceSession(tmp_path / "normalize.onnx", providers=["CPUExecutionProvider"])
    (actual,) = cast("list[NDArray[np.float32]]", session.run([normalized], {"pixels": every_value}))
    scaled = convert_image_dtype(torch.from_numpy(every_value).permute(0, 3, 1, 2), torch.float32)
    preset = ResNet50_Weights.IMAGENET1K_V2.transforms()
    np.testing.assert_array_equal(actual, normalize(scaled, preset.mean, preset.std).numpy())


def test_pooled_features_are_torchvisions(example_models: Path, pictures: list[Image.Image]) -> None:
    torch.manual_seed(0)
    network = resnet50(weights=None)
    network.register_module("fc", torch.nn.Identity())
    model = opened(example_models / "resnet50" / "1")
    assert_same_vectors(model, pictures, by_torchvision(network, pictures))
    assert (model.manifest.dimensionality, model.manifest.pooling) == (2048, "pool")
    assert (model.manifest.source.uri, model.manifest.source.random) == ("random:0", True)
    assert set(model.manifest.exported_with) == {
        "torch",
        "torchvision",
        "onnx",
        "onnxscript",
        "onnxruntime",
        "vecserve",
    }


def test_logits_of_a_state_dict_have_its_classes(
    tmp_path: Path,
    pictures: list[Image.Image],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A few probes save half a minute; all of them are computed where the example models are exported.
    few = probes.images()[::16]
    monkeypatch.setattr(probes, "images", lambda: few)
    torch.manual_seed(1)
    network = resnet50(weights=None, num_classes=7)
    save_file(network.state_dict(), tmp_path / "flowers.safetensors")
    arguments = ["--weights", str(tmp_path / "flowers.safetensors"), "--features", "logits", "--resize", "300"]
    assert main(["resnet50", *arguments, "--name", "flowers", "--out", str(tmp_path / "out")]) == 0

    model = opened(tmp_path / "out" / "flowers" / "1")
    assert_same_vectors(model, pictures, by_torchvision(network, pictures, resize_size=300))
    manifest = model.manifest
    assert (manifest.dimensionality, manifest.pooling, manifest.source.random) == (7, "logits", False)
    assert isinstance(manifest.input, ImageInput)
    assert (manifest.input.resize_size, manifest.input.crop_size) == (300, 224)
    said = capsys.readouterr().out
    assert f"{tmp_path}/out/flowers/1\n" in said
    assert "version 1, 7 dimensions, logits" in said
    assert "against fp32 PyTorch on 4 probes (images-1): largest error" in said
    assert "alone against in a batch: unit vectors differ by" in said


def test_a_crop_larger_than_the_image_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resnet50", "--weights", "random:0", "--resize", "200", "--out", str(tmp_path)]) == 1
    assert "--resize 200" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
