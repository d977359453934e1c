"""Every setting of the server: its default, its limits and its reason.

Command-line flags and `VECSERVE_*` environment variables fill it; flags win.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict

from vecserve_server.engine.engine import EngineSettings
from vecserve_server.models.inputs import InputLimits
from vecserve_server.models.session import Provider, SessionOptions

Count = Annotated[int, Field(gt=0)]
Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


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
    provider: Literal["cpu", "cuda"] = Field(
        default="cpu", description="execution provider of ONNX Runtime; if it does not load, the server does not start"
    )
    device_id: int = Field(default=0, ge=0, description="which GPU, for --provider cuda")
    instances: Count | None = Field(
        default=None,
        description="batches that run at once; as many as cores by default on a CPU, 2 on a GPU. With --workers it "
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
        description="most tokens of one batch after padding; 1024 by default on a CPU, 16384 on a GPU. Batches are "
        "smaller where warm-up shows that this is as fast",
    )
    batch_images: Count | None = Field(
        default=None, description="most images of one batch; 4 by default on a CPU, 32 on a GPU"
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

    @property
    def session_options(self) -> SessionOptions:
        return SessionOptions(Provider(self.provider), self.device_id, self.intra_op_threads)

    @property
    def input_limits(self) -> InputLimits:
        return InputLimits(self.max_text_characters, self.max_image_bytes, self.max_image_pixels)

    def engine_settings(self, cores: int) -> EngineSettings:
        """What was set, and for the rest what suits the provider and the number of cores."""
        on_cpu = self.provider == "cpu"
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
