"""What a server tells of itself, put together as its settings ask for it."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from vecserve_server.config import ServerConfig
from vecserve_server.engine.engine import Engine
from vecserve_server.telemetry.call_log import CallLog
from vecserve_server.telemetry.calls import CallObserver, CallObservers
from vecserve_server.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from vecserve_server.engine.observer import Observer
    from vecserve_server.telemetry.tracing import Tracing

logger = logging.getLogger(__name__)

_OTLP = "OTEL_EXPORTER_OTLP_"


class TracingError(Exception):
    """Traces were asked for, and can't be made."""


class Telemetry:
    """Metrics, traces and the log of calls; what is not asked for does not exist."""

    def __init__(self, config: ServerConfig, environment: Mapping[str, str] = os.environ) -> None:
        """Puts it together.

        Raises:
            TracingError: traces were asked for, without the extra `tracing` or in another protocol than ours.
        """
        self._address = config.metrics_address
        self._metrics = Metrics() if self._address else None
        endpoint = _traces_endpoint(config, environment)
        self._tracing = _tracing_to(endpoint) if endpoint else None
        followers = [each for each in (self._metrics, self._tracing) if each]
        calls: list[CallObserver] = [each.calls for each in followers]
        if config.log_level == "debug":
            calls.append(CallLog(with_inputs=config.log_inputs))
        if config.log_inputs:
            logger.warning("log_inputs is set: the log shows the texts of calls")
        self.calls = CallObservers(calls) if calls else None
        """Observes calls, if anything does."""
        models = [self._metrics] if self._metrics else []
        self.engine: Sequence[Observer] = [*models, *(each.batches for each in followers)]
        """Observe the engine."""

    def serve(self) -> None:
        """Answers scrapes from now on.

        Raises:
            OSError: the address can't be listened on.
        """
        if self._metrics and self._address:
            self._metrics.serve(self._address)

    def watch(self, engine: Engine, serving: Callable[[], bool]) -> None:
        """Looks at the engine, and at whether calls are answered, at each scrape from now on."""
        if self._metrics:
            self._metrics.watch(engine, serving)

    async def close(self, seconds: float) -> None:
        """Sends the last traces, for at most so many seconds."""
        if self._tracing:
            await self._tracing.close(seconds)


def _traces_endpoint(config: ServerConfig, environment: Mapping[str, str]) -> str | None:
    """Where traces go; None if they were not asked for. OpenTelemetry's own switches hold."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    endpoint = config.otlp_endpoint or _of_traces(environment, "ENDPOINT")
    protocol = _of_traces(environment, "PROTOCOL")
    if endpoint and protocol not in (None, "grpc"):
        raise TracingError(
            f"{_OTLP}PROTOCOL is '{protocol}', and traces are sent as 'grpc' only, which collectors take on port 4317"
        )
    return endpoint


def _of_traces(environment: Mapping[str, str], name: str) -> str | None:
    return environment.get(f"{_OTLP}TRACES_{name}") or environment.get(f"{_OTLP}{name}") or None


def _tracing_to(endpoint: str) -> "Tracing":
    try:
        from vecserve_server.telemetry.tracing import tracing_to
    except ImportError as error:
        raise TracingError(
            f"traces were asked for, to {endpoint}, and OpenTelemetry is not installed: pip install 'vecserve[tracing]'"
        ) from error
    return tracing_to(endpoint)
