"""NVIDIA GPUs through TensorRT, which compiles a graph into an engine for one GPU and a range of shapes."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

from vecserve_server.models.manifest import ImageInput, Manifest, TextInput
from vecserve_server.models.providers.cuda import CUDA_LIBRARY, SOURCES, Cuda
from vecserve_server.models.providers.libraries import lacking, missing_libraries, runtime_library
from vecserve_server.models.providers.provider import Provider, ProviderError

# Most texts of one run: an engine takes memory for as many of the longest, however short those of a batch are. Larger
# batches are run in parts.
_TEXTS = 128

_TENSORRT_LIBRARY = runtime_library("libonnxruntime_providers_tensorrt.so")
_SOURCES = f"{SOURCES}, libnvinfer and libnvonnxparser with NVIDIA's TensorRT, whose folder belongs on LD_LIBRARY_PATH"

# Tokens of the texts for which it is fastest: about a sentence.
_TYPICAL_TOKENS = 32


@dataclass(frozen=True, slots=True)
class Profile:
    """The shapes that an engine is compiled for, by input."""

    least: Mapping[str, tuple[int, ...]]
    usual: Mapping[str, tuple[int, ...]]
    """Those for which it is made fast."""
    most: Mapping[str, tuple[int, ...]]

    @property
    def items(self) -> int:
        """Most items of one run."""
        return next(iter(self.most.values()))[0]

    @classmethod
    def of(cls, manifest: Manifest, batch_images: int) -> Self:
        """The shapes that batches of an artifact have."""
        match manifest.input:
            case TextInput(max_token_count=longest):
                inputs, typical = ("input_ids", "attention_mask"), min(_TYPICAL_TOKENS, longest)
                shapes: list[tuple[int, ...]] = [(1, 1), (_TEXTS, typical), (_TEXTS, longest)]
            case ImageInput(crop_size=edge):
                inputs = ("pixels",)
                shapes = [(count, edge, edge, 3) for count in (1, batch_images, batch_images)]
        least, usual, most = (dict.fromkeys(inputs, shape) for shape in shapes)
        return cls(least, usual, most)

    def options(self) -> dict[str, str]:
        """As ONNX Runtime takes it."""
        return {
            f"trt_profile_{which}_shapes": ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in of.items())
            for which, of in (("min", self.least), ("opt", self.usual), ("max", self.most))
        }


@dataclass(frozen=True, kw_only=True)
class TensorRt(Provider):
    """TensorRT's engines. What they can't hold is left to CUDA."""

    name: str = "TensorrtExecutionProvider"
    cuda: Cuda = field(default_factory=Cuda)
    fp16: bool = False
    """Whether graphs of fp32 are compiled in fp16."""
    cache: Path | None = None
    """Directory of engines that were compiled before; without one, they are at every start, which takes minutes."""
    batch_images: int
    """Most images of one batch."""
    profile: Profile | None = None
    """Of the artifact that it was fitted to."""

    packages: ClassVar[str] = f"{Cuda.packages}, and TensorRT 10"

    def options(self) -> dict[str, str]:
        return {
            "device_id": str(self.cuda.device_id),
            "trt_fp16_enable": str(self.fp16),
            **self._cache_options(),
            **(self.profile.options() if self.profile else {}),
            **self.raw_options,
        }

    def chain(self) -> list[tuple[str, dict[str, str]]]:
        return [*super().chain(), *self.cuda.chain()]

    def fitted(self, manifest: Manifest) -> Self:
        # An engine's file is named after the graph's structure, which models of other weights share.
        cache = self.cache and self.cache / manifest.graph_digest.removeprefix("sha256:")
        return dataclasses.replace(self, profile=Profile.of(manifest, self.batch_images), cache=cache)

    @property
    def most_items(self) -> int | None:
        return self.profile.items if self.profile else None

    def computed_in(self, precision: str) -> str:
        # ONNX Runtime has no option to keep TensorRT from using TF32, where the GPU has it.
        return {"fp32": "fp16" if self.fp16 else "tf32"}.get(precision, precision)

    def prepare(self) -> None:
        self.cuda.prepare()
        if self.cache:
            try:
                self.cache.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ProviderError(f"tensorrt_cache: '{self.cache}' can't be made: {error.strerror}") from error

    def missing(self) -> list[str]:
        linked = *missing_libraries(_TENSORRT_LIBRARY), *missing_libraries(CUDA_LIBRARY)
        libraries = list(dict.fromkeys(linked))
        return [f"{lacking(libraries)} ({_SOURCES})"] if libraries else self.cuda.missing()

    def _cache_options(self) -> dict[str, str]:
        if self.cache is None:
            return {}
        return {
            "trt_engine_cache_enable": "True",
            "trt_engine_cache_path": str(self.cache),
            "trt_timing_cache_enable": "True",
            "trt_timing_cache_path": str(self.cache),
        }
