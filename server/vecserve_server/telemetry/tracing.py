"""Traces to a collector, over OTLP/gRPC. Needs the extra `tracing`: imported only if traces were asked for."""

import asyncio
import contextlib
import logging
from importlib.metadata import version

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SynchronousMultiSpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler
from opentelemetry.trace import Tracer

from vecserve_server.telemetry.spans import BatchSpans, CallSpans

logger = logging.getLogger(__name__)

_VERSION = version("vecserve")


class Tracing:
    """What observes calls and the engine, and sends spans on a thread of its own.

    Spans wait in a queue of limited length (OTEL_BSP_MAX_QUEUE_SIZE); while the collector does not take them, the
    oldest are dropped, and calls know nothing of it.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        """Samples as OTEL_TRACES_SAMPLER says; as their parents, or all, if it is not set."""
        self._exporter = exporter
        self._processor = SynchronousMultiSpanProcessor()
        self._processor.add_span_processor(BatchSpanProcessor(exporter))
        self.calls = CallSpans(self._tracer())
        """Observes calls."""
        self.batches = BatchSpans(self._tracer(ALWAYS_ON))
        """Observes the engine."""

    async def close(self, seconds: float) -> None:
        """Sends what is left, for at most so many seconds."""
        flushing = asyncio.create_task(asyncio.to_thread(self._processor.shutdown))
        done, _ = await asyncio.wait((flushing,), timeout=seconds)
        if not done:
            logger.warning("the collector has not taken all traces in %g s: the rest is dropped", seconds)
            with contextlib.suppress(Exception):
                self._exporter.shutdown()  # which ends what the thread waits for
        await flushing

    def _tracer(self, sampler: Sampler | None = None) -> Tracer:
        provider = TracerProvider(sampler, _resource(), shutdown_on_exit=False, active_span_processor=self._processor)
        return provider.get_tracer("vecserve", _VERSION)


def tracing_to(endpoint: str) -> Tracing:
    """Sends traces to a collector, `http://HOST:PORT` or `https://HOST:PORT`."""
    return Tracing(OTLPSpanExporter(endpoint=endpoint))


def _resource() -> Resource:
    """What the environment says of this service (OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES) over its own name."""
    own = {"service.name": "vecserve", "service.version": _VERSION}
    return Resource.create({**own, **OTELResourceDetector().detect().attributes})
