"""Exports ResNet-50 with its pixel arithmetic inside the graph."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.export import Dim

from vecserve_export import probes, samples
from vecserve_export.artifact import Published, publish, staging, tool_versions
from vecserve_export.errors import ExportError
from vecserve_export.graph import OUTPUT, write_graph
from vecserve_export.progress import step
from vecserve_export.verify import UNMEASURED, Reference, verify
from vecserve_export.weights import Features, load_backbone
from vecserve_server.models.inputs import ImageInputs
from vecserve_server.models.manifest import GRAPH_FILE, ImageInput, Manifest, file_digest

_BATCH = 16
"""Images that PyTorch takes at once: more would be no faster, and take a gigabyte."""


@dataclass(frozen=True, slots=True)
class ResNet50Export:
    """What to export, and as what."""

    weights: str
    out: Path
    name: str = "resnet50"
    fallback: str | None = None
    features: Features = "pool"
    resize: int | None = None
    """Shorter edge before cropping; None for that of the weights."""
    precision: Literal["fp32", "fp16"] = "fp32"


class PixelNetwork(nn.Module):
    """A network that takes bytes, scaled and normalized as torchvision does it, operation by operation."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.dtype = next(network.parameters()).dtype
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, pixels: Tensor) -> Tensor:
        """Takes `(batch, height, width, 3)` uint8 RGB, and returns `(batch, dimensionality)` float32."""
        scaled = pixels.permute(0, 3, 1, 2).to(torch.float32) / 255
        normalized = (scaled - self.mean) / self.std
        return self.network(normalized.to(self.dtype)).float()


def export_resnet50(options: ResNet50Export) -> Published:
    """Exports ResNet-50, compares it with torchvision, and publishes the artifact.

    Raises:
        ExportError: the weights can't be had, the graph differs from PyTorch, or the artifact can't be written.
            Nothing is published then.
    """
    with staging(options.out, options.name) as directory:
        backbone = load_backbone(options.weights, options.fallback, options.features)
        network = backbone.network.eval()
        sizes = {} if options.resize is None else {"resize_size": options.resize}
        transforms = backbone.preprocessing(**sizes)
        (resize,), (crop,) = transforms.resize_size, transforms.crop_size
        if resize < crop:
            raise ExportError(f"--resize {resize} is less than the crop of {crop} pixels; that or more is allowed")

        with step("Computing vectors in PyTorch"):
            odd, ordinary = (
                Reference(ImageInputs(images), _embed(network, transforms, images))
                for images in (samples.images(), probes.images())
            )
            dimensionality = ordinary.vectors.shape[1]

        with step("Exporting the graph"):
            # Only now: half() changes the network itself.
            computing = network.half() if options.precision == "fp16" else network
            write_graph(
                PixelNetwork(computing, transforms.mean, transforms.std),
                {"pixels": torch.zeros(2, crop, crop, 3, dtype=torch.uint8)},
                {"pixels": {0: Dim("batch")}},
                directory / GRAPH_FILE,
                {"precision": options.precision, "pooling": options.features},
            )

        manifest = Manifest(
            graph_digest=file_digest(directory / GRAPH_FILE),
            input=ImageInput(
                resize_size=resize,
                crop_size=crop,
                interpolation=transforms.interpolation.value,
                mean=tuple(transforms.mean),
                std=tuple(transforms.std),
            ),
            output=OUTPUT,
            dimensionality=dimensionality,
            supported_dimensionalities=(dimensionality,),
            pooling=options.features,
            # Features are served as torchvision computes them; clients may ask for unit length.
            normalization="none",
            precision=options.precision,
            source=backbone.source,
            fidelity=UNMEASURED,
            exported_at=datetime.now(UTC),
            exported_with=tool_versions("torchvision"),
        )
        with step("Comparing the graph with PyTorch"):
            verify(directory, manifest, odd, ordinary)
        return publish(directory, options.out, options.name)


@torch.inference_mode()
def _embed(network: nn.Module, transforms: Any, images: Sequence[bytes]) -> NDArray[np.float32]:
    """What torchvision makes of encoded images: `(images, dimensionality)` float32."""
    opened = (Image.open(io.BytesIO(image)).convert("RGB") for image in images)
    pixels = torch.stack([transforms(image) for image in opened])
    parts = (pixels[start : start + _BATCH] for start in range(0, len(pixels), _BATCH))
    return torch.cat([network(part) for part in parts]).numpy()
