"""Every setting of the server: its default, its limits and its reason.

Command-line flags and `VECSERVE_*` environment variables fill it; flags win.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, CliApp, CliImplicitFlag, SettingsConfigDict

from vecserve_server.engine.engine import EngineSettings
from vecserve_server.models.inputs import InputLimits
from vecserve_server.models.providers.cuda import Cuda
from vecserve_server.models.providers.openvino import OpenVino
from vecserve_server.models.providers.provider import Cpu, Provider
from vecserve_server.models.providers.tensorrt import TensorRt
from vecserve_server.models.session import SessionOptions

Count = Annotated[int, Field(gt=0)]
Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]

_SHORT_NAMES = {
    "CPUExecutionProvider": "cpu",
    "CUDAExecutionProvider": "cuda",
    "TensorrtExecutionProvider": "tensorrt",
    "OpenVINOExecutionProvider": "openvino",
}

# Which providers a setting is for, where it is not for all.
_OWNERS = {
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


class ServerConfig(BaseSettings):
    """Serves the models in a directory over gRPC.

    Each flag may also be set as an environment variable: --max-batch-items is VECSERVE_MAX_BATCH_ITEMS.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="VECSERVE_",
        cli_prog_name="vecserve serve",
        cli_kebab_case=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
    )

    models: Path = Field(
        default=Path("models"),
        description="directory of artifacts, <name>/<version>/; of each name the highest version is served",
    )
    address: str = Field(
        default="127.0.0.1:50051",
        description="HOST:PORT to listen on; port 0 takes a free one. The default is reached from this machine only: "
        "there is no authentication yet",
    )
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
    instances: Count | None = Field(
        default=None,
        description="batches that run at once; as many as cores by default on a CPU, 2 elsewhere. With --workers it "
        "counts for each: what is set here, or by default its share of the cores",
    )
    intra_op_threads: Count = Field(
        default=1,
        description="threads of one batch; with more, fewer instances by default. 1 gave the most throughput",
    )
    workers: Count = Field(
        default=1,
        description="processes that serve the port, each with models, queues and limits of its own; Linux only. For "
        "where one Python process is the limit, as with a GPU or very cheap models. Clients reach all through several "
        "connections",
    )
    default_text_model: str | None = Field(
        default=None, description="model of EmbedText calls that name none; the first by name if not set"
    )
    default_image_model: str | None = Field(
        default=None, description="model of EmbedImage calls that name none; the first by name if not set"
    )
    max_batch_items: Count = Field(default=256, description="most texts or images of one call")
    max_text_characters: Count = Field(
        default=1_000_000, description="most characters of one text, refused before tokenizing"
    )
    max_image_bytes: Count = Field(default=20 * 2**20, description="most bytes of one encoded image")
    max_image_pixels: Count = Field(
        default=50_000_000,
        le=178_000_000,  # beyond which Pillow refuses by itself
        description="most pixels of one image, refused from its header before decoding",
    )
    max_message_bytes: Count = Field(
        default=64 * 2**20, le=2**31 - 1, description="most bytes of one gRPC message, in both directions"
    )
    batch_tokens: Count | None = Field(
        default=None,
        description="most tokens of one batch after padding; 1024 by default on a CPU, 16384 elsewhere. Batches are "
        "smaller where warm-up shows that this is as fast",
    )
    batch_images: Count | None = Field(
        default=None, description="most images of one batch; 4 by default on a CPU, 32 elsewhere"
    )
    max_queue_seconds: Seconds = Field(
        default=10.0,
        description="predicted wait beyond which calls are refused as overloaded, with the delay to retry after",
    )
    max_stream_requests: Count = Field(
        default=16, description="unanswered requests of one stream; a client that sends more waits"
    )
    grace_seconds: Seconds = Field(
        default=25.0,
        description="time that accepted calls get to finish after SIGTERM; the default fits Kubernetes' 30 s",
    )
    model_weights: dict[str, Weight] = Field(
        default={},
        description="shares of the instances' time when several models are busy, NAME=SHARE; 1 for models not named. "
        "In the environment as JSON",
    )
    metrics_address: str | None = Field(
        default=None,
        description="HOST:PORT at which Prometheus finds the metrics; without it there are none. "
        "Of --workers, the first has this port, and each of the others the next one",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severe log level shown"
    )

    @field_validator("address", "metrics_address")
    @classmethod
    def _has_host_and_port(cls, address: str | None) -> str | None:
        if address is None:
            return None
        host, separator, port = address.rpartition(":")
        if not separator or not host or not port.isdecimal() or int(port) > 65535:
            raise ValueError("must be HOST:PORT with a port from 0 to 65535, e.g. 0.0.0.0:50051 or [::]:50051")
        return address

    @field_validator("workers")
    @classmethod
    def _has_one_worker_unless_on_linux(cls, workers: int) -> int:
        if workers > 1 and sys.platform != "linux":
            raise ValueError("must be 1 on this system: only Linux shares a port's connections out to processes")
        return workers

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

    def session_options(self, cores: int) -> SessionOptions:
        """Where and how models run on a machine of that many cores."""
        return SessionOptions(self._execution_provider(cores), self.intra_op_threads)

    def _execution_provider(self, cores: int) -> Provider:
        raw = self.provider_options
        match self.provider:
            case "cpu":
                return Cpu(raw_options=raw)
            case "cuda":
                return self._cuda(raw)
            case "tensorrt":
                settings = self.engine_settings(cores)
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
                    streams=self.engine_settings(cores).instances,
                    threads=self.intra_op_threads,
                )
            case name:
                return Provider(name=name, raw_options=raw)

    def _cuda(self, raw: dict[str, str]) -> Cuda:
        return Cuda(
            raw_options=raw,
            device_id=self.device_id or 0,
            memory_bytes=self.cuda_memory_bytes,
            conv_search=self.cuda_conv_search or "heuristic",
            tf32=self.cuda_tf32,
        )

    @property
    def _on_cpu(self) -> bool:
        return self.provider == "cpu" or (self.provider == "openvino" and self.openvino_device in (None, "CPU"))

    @property
    def input_limits(self) -> InputLimits:
        return InputLimits(self.max_text_characters, self.max_image_bytes, self.max_image_pixels)

    def engine_settings(self, cores: int) -> EngineSettings:
        """What was set, and for the rest what suits the provider and the number of cores."""
        on_cpu = self._on_cpu
        cores = max(1, cores // self.workers)
        return EngineSettings(
            instances=self.instances or (max(1, cores // self.intra_op_threads) if on_cpu else 2),
            preprocessing_threads=cores,
            batch_tokens=self.batch_tokens or (1024 if on_cpu else 16384),
            batch_images=self.batch_images or (4 if on_cpu else 32),
            max_queue_seconds=self.max_queue_seconds,
            weights=self.model_weights,
        )

    def of_worker(self, number: int, address: str) -> Self:
        """The same for one of the workers, counted from 0, which serve on `address`.

        Their metrics are on successive ports: a scrape must reach each, and know which it reached.
        """
        if self.metrics_address is None:
            return self.model_copy(update={"address": address})
        host, _, port = self.metrics_address.rpartition(":")
        metrics_port = int(port) + number if int(port) else 0
        return self.model_copy(update={"address": address, "metrics_address": f"{host}:{metrics_port}"})

    @classmethod
    def from_command_line(cls, argv: Sequence[str]) -> Self:
        """Settings from flags, then from the environment, then defaults.

        Raises:
            pydantic.ValidationError: names every setting whose value is not allowed.
            SystemExit: a flag is unknown, or help was asked for.
        """
        return CliApp.run(cls, cli_args=list(argv))
