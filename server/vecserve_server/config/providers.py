"""The execution provider of ONNX Runtime, and the settings of each."""

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, CliImplicitFlag

from vecserve_server.config.types import Count
from vecserve_server.engine.settings import EngineSettings
from vecserve_server.models.providers.cuda import Cuda
from vecserve_server.models.providers.openvino import OpenVino
from vecserve_server.models.providers.provider import Cpu, Provider
from vecserve_server.models.providers.tensorrt import TensorRt

_SHORT_NAMES = {
    "CPUExecutionProvider": "cpu",
    "CUDAExecutionProvider": "cuda",
    "TensorrtExecutionProvider": "tensorrt",
    "OpenVINOExecutionProvider": "openvino",
}

# Which providers a setting is for, where it is not for all.
_OWNERS = {
    "cpu_alone_threads": ("cpu",),
    "device_id": ("cuda", "tensorrt"),
    "cuda_memory_bytes": ("cuda", "tensorrt"),
    "cuda_conv_search": ("cuda", "tensorrt"),
    "cuda_tf32": ("cuda", "tensorrt"),
    "tensorrt_cache": ("tensorrt",),
    "tensorrt_fp16": ("tensorrt",),
    "openvino_device": ("openvino",),
    "openvino_precision": ("openvino",),
}

_DEVICE = r"(CPU|[GN]PU(\.\d+)?)"
_OPENVINO_DEVICE = re.compile(rf"AUTO|{_DEVICE}|(AUTO|HETERO|MULTI):{_DEVICE}(,{_DEVICE})*")


class ProviderSettings(BaseSettings):
    """Where models run. A setting of another provider than the one in use is refused."""

    provider: str = Field(
        default="cpu",
        description="execution provider of ONNX Runtime: cpu, cuda, tensorrt, openvino, or the full name of another, "
        "e.g. ROCMExecutionProvider; if it does not load, the server does not start",
    )
    provider_options: dict[str, str] = Field(
        default={},
        description="options of the provider by ONNX Runtime's names, NAME=VALUE, beside or in place of those that the "
        "settings below make. In the environment, and for values with commas or quotes, as JSON",
    )
    cpu_alone_threads: Count | None = Field(
        default=None,
        description="threads of an interactive batch that nothing runs or waits beside, for cpu; as many as all "
        "instances have if not set. With more than intra_op_threads, models' weights are in memory twice",
    )
    device_id: int | None = Field(default=None, ge=0, description="which GPU, for cuda and tensorrt; 0 if not set")
    cuda_memory_bytes: Count | None = Field(
        default=None, description="most GPU memory of each model's arena, for cuda and tensorrt; no limit if not set"
    )
    cuda_conv_search: Literal["heuristic", "exhaustive", "default"] | None = Field(
        default=None,
        description="how cuDNN chooses an algorithm for a convolution, for cuda and tensorrt; heuristic if not set: "
        "an exhaustive search runs anew for each shape",
    )
    cuda_tf32: CliImplicitFlag[bool] = Field(
        default=False, description="compute fp32 in TF32, faster and less exact, for cuda and tensorrt"
    )
    tensorrt_cache: Path | None = Field(
        default=None,
        description="directory for tensorrt's engines; without one they are compiled at every start, for minutes",
    )
    tensorrt_fp16: CliImplicitFlag[bool] = Field(default=False, description="have tensorrt compute fp32 models in fp16")
    openvino_device: str | None = Field(
        default=None, description="CPU, GPU, GPU.1, NPU, or e.g. AUTO:GPU,CPU, for openvino; CPU if not set"
    )
    openvino_precision: Literal["auto", "bf16", "f32"] | None = Field(
        default=None,
        description="what openvino computes fp32 models in; auto if not set: bf16 where the CPU has it, else f32",
    )

    @field_validator("provider")
    @classmethod
    def _names_a_provider(cls, provider: str) -> str:
        provider = _SHORT_NAMES.get(provider, provider)
        if provider not in _SHORT_NAMES.values() and not re.fullmatch(r"\w+ExecutionProvider", provider):
            short = ", ".join(_SHORT_NAMES.values())
            raise ValueError(f"must be one of {short}, or another's full name, e.g. ROCMExecutionProvider")
        return provider

    @field_validator(*_OWNERS)
    @classmethod
    def _is_for_the_provider(cls, value: Any, info: ValidationInfo) -> Any:
        owners, provider = _OWNERS[str(info.field_name)], info.data.get("provider")
        is_set = value is not None and value is not False
        if is_set and provider is not None and provider not in owners:
            raise ValueError(f"is for provider {' or '.join(owners)}, and provider is {provider}")
        return value

    @field_validator("openvino_device")
    @classmethod
    def _names_a_device(cls, device: str | None) -> str | None:
        if device is not None and not _OPENVINO_DEVICE.fullmatch(device):
            raise ValueError("must be CPU, GPU or NPU, with a number as in GPU.1, or several as in AUTO:GPU,CPU")
        return device

    @property
    def on_cpu(self) -> bool:
        return self.provider == "cpu" or (self.provider == "openvino" and self.openvino_device in (None, "CPU"))

    def execution_provider(self, settings: EngineSettings, threads: int) -> Provider:
        """The provider that was asked for, for an engine with these settings and batches of so many threads."""
        raw = self.provider_options
        match self.provider:
            case "cpu":
                return Cpu(raw_options=raw)
            case "cuda":
                return self._cuda(raw)
            case "tensorrt":
                return TensorRt(
                    raw_options=raw,
                    cuda=self._cuda({}),
                    fp16=self.tensorrt_fp16,
                    cache=self.tensorrt_cache,
                    batch_images=settings.batch_images,
                )
            case "openvino":
                return OpenVino(
                    raw_options=raw,
                    device=self.openvino_device or "CPU",
                    precision=self.openvino_precision or "auto",
                    streams=settings.instances,
                    threads=threads,
                )
            case name:
                return Provider(name=name, raw_options=raw)

    def threads_alone(self, threads: int, cores: int) -> int:
        """Of a batch beside which nothing else runs, where all instances have so many threads and cores together."""
        return self.cpu_alone_threads or min(threads, cores) if self.provider == "cpu" else 1

    def _cuda(self, raw: dict[str, str]) -> Cuda:
        return Cuda(
            raw_options=raw,
            device_id=self.device_id or 0,
            memory_bytes=self.cuda_memory_bytes,
            conv_search=self.cuda_conv_search or "heuristic",
            tf32=self.cuda_tf32,
        )
