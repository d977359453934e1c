"""What the server tells whoever operates it."""

import re
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, CliImplicitFlag

from vecserve_server.config.types import Address
from vecserve_server.telemetry.logs import LogFormat


class TelemetrySettings(BaseSettings):
    """Metrics, traces and logs."""

    metrics_address: Address | None = Field(
        default=None,
        description="HOST:PORT at which Prometheus finds the metrics; without it there are none. "
        "Of --workers, the first has this port, and each of the others the next one",
    )
    otlp_endpoint: str | None = Field(
        default=None,
        description="URL of the collector that gets traces over OTLP/gRPC, e.g. http://localhost:4317; "
        "OTEL_EXPORTER_OTLP_ENDPOINT if not set, and without either there are none. Needs the extra `tracing`; "
        "OTEL_TRACES_SAMPLER and the other variables of OpenTelemetry hold",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severe log level shown; debug has a line for each call"
    )
    log_format: LogFormat = Field(default="console", description="lines for a terminal, or JSON objects")
    log_inputs: CliImplicitFlag[bool] = Field(
        default=False,
        description="show the texts of calls in their debug lines, which else show nothing of them; "
        "only with log level debug",
    )

    @field_validator("otlp_endpoint")
    @classmethod
    def _is_a_url(cls, endpoint: str | None) -> str | None:
        if endpoint is not None and not re.fullmatch(r"https?://[^/\s]+/?", endpoint):
            raise ValueError("must be http://HOST:PORT, or https://HOST:PORT for TLS, e.g. http://localhost:4317")
        return endpoint

    @field_validator("log_inputs")
    @classmethod
    def _needs_debug(cls, log_inputs: bool, info: ValidationInfo) -> bool:
        level = info.data.get("log_level", "debug")
        if log_inputs and level != "debug":
            raise ValueError(f"is for log_level debug, and log_level is {level}")
        return log_inputs
