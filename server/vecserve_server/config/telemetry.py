"""What the server tells whoever operates it."""

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings

from vecserve_server.config.types import Address


class TelemetrySettings(BaseSettings):
    """Metrics and logs."""

    metrics_address: Address | None = Field(
        default=None,
        description="HOST:PORT at which Prometheus finds the metrics; without it there are none. "
        "Of --workers, the first has this port, and each of the others the next one",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severe log level shown"
    )
