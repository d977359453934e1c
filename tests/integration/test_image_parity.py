"""Images through gRPC against torchvision's transforms and forward pass."""

import io
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.models import ResNet50_Weights, resnet50

from vecserve.v1 import embedding_service_pb2 as pb
from vecserve.v1.embedding_service_pb2_grpc import EmbeddingServiceStub

SIZES = [(224, 224), (1, 1), (333, 127), (97, 641), (1024, 768), (232, 232), (17, 500)]

# The mode as it is made, the format as it is sent.
FILES = [
    *[("RGB", form) for form in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")],
    *[("L", form) for form in ("JPEG", "PNG", "TIFF", "BMP", "GIF")],
    *[("RGBA", form) for form in ("PNG", "WEBP", "TIFF")],
    *[("P", form) for form in ("PNG", "GIF", "BMP", "TIFF")],
    *[("CMYK", form) for form in ("JPEG", "TIFF")],
    *[("1", form) for form in ("PNG", "TIFF", "BMP")],
    *[("LA", form) for form in ("PNG", "TIFF")],
    ("YCbCr", "JPEG"),
    ("LAB", "TIFF"),
]


def noise(mode: str, size: tuple[int, int], seed: int) -> Image.Image:
    """A picture with smooth parts and sharp ones."""
    width, height = size
    rows, columns = np.mgrid[0:height, 0:width]
    waves = np.stack([np.sin(rows / (5 + c)) + np.cos(columns / (9 - c)) for c in range(3)], axis=-1)
    grain = np.random.default_rng(seed).normal(scale=0.3, size=waves.shape)
    return Image.fromarray(np.clip((waves + grain + 2) * 63, 0, 255).astype(np.uint8), "RGB").convert(mode)


def encoded_images() -> Iterator[bytes]:
    for seed, (mode, form) in enumerate(FILES):
        yield saved(noise(mode, SIZES[seed % len(SIZES)], seed), form)
    for seed in range(3):
        grey16 = np.random.default_rng(seed).integers(0, 65536, size=(150 + seed, 211), dtype=np.uint16)
        yield saved(Image.fromarray(grey16), ("PNG", "TIFF")[seed % 2])


def saved(image: Image.Image, form: str) -> bytes:
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


def reference(contents: list[bytes]) -> NDArray[np.float32]:
    """Pooled features by torchvision and torch, an image at a time, of the weights that `random:0` names."""
    torch.manual_seed(0)
    model = resnet50(weights=None).eval()
    backbone = torch.nn.Sequential(*list(model.children())[:-1], torch.nn.Flatten())
    preprocess = ResNet50_Weights.IMAGENET1K_V2.transforms()
    with torch.inference_mode():
        return np.concatenate([backbone(preprocess(opened(content))[None]).numpy() for content in contents])


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    if image.mode == "I;16":  # torchvision has no 8-bit path for these, and Pillow's own would clip them
        return Image.fromarray((np.asarray(image) // 256).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


@pytest.fixture(scope="module")
def contents() -> list[bytes]:
    images = list(encoded_images())
    assert len(images) == 30
    return images


def embed(embedding: EmbeddingServiceStub, contents: list[bytes]) -> NDArray[np.float32]:
    options = pb.VectorOptions(normalization=pb.NORMALIZATION_L2)
    request = pb.EmbedImageRequest(images=[pb.Image(content=content) for content in contents], vector=options)
    return np.stack([np.frombuffer(item.values, "<f4") for item in embedding.EmbedImage(request).embeddings])


def test_vectors_match_torchvision(embedding: EmbeddingServiceStub, contents: list[bytes]) -> None:
    actual, expected = embed(embedding, contents), reference(contents)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.abs(actual - expected).max() <= 1e-4
    assert (actual * expected).sum(axis=1).min() >= 0.99999


def test_an_image_has_the_same_vector_alone_and_in_company(
    embedding: EmbeddingServiceStub, contents: list[bytes]
) -> None:
    together = embed(embedding, contents[:8])
    alone = np.concatenate([embed(embedding, [content]) for content in contents[:8]])
    assert np.abs(alone - together).max() <= 1e-6
