"""Traces of a server process, as a collector gets them over OTLP, or does not."""

import os
import subprocess
import sys
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from running_server import RunningServer, serving
from scraping import free_address

from vecserve.v1 import embedding_service_pb2 as pb
from vecserve.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from vecserve_server.config import ServerConfig
from vecserve_server.telemetry.telemetry import Telemetry, TracingError

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

EMBED_TEXT = "vecserve.v1.EmbeddingService/EmbedText"


class Collector(TraceServiceServicer):
    """Keeps what it gets."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.services: set[str] = set()

    def Export(  # noqa: N802 (gRPC finds it by this name)
        self, request: ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> ExportTraceServiceResponse:
        for resource in request.resource_spans:
            names = [each.value.string_value for each in resource.resource.attributes if each.key == "service.name"]
            self.services.update(names)
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        return ExportTraceServiceResponse()


@pytest.fixture
def collector() -> Collector:
    return Collector()


@pytest.fixture
def endpoint(collector: Collector) -> Generator[str]:
    server = grpc.server(ThreadPoolExecutor(1))
    add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop(None).wait()


def embed(server: RunningServer, count: int) -> list[float]:
    """Seconds that each of so many calls took."""
    seconds: list[float] = []
    with server.channel() as channel:
        stub = EmbeddingServiceStub(channel)
        for _ in range(count):
            began = time.monotonic()
            stub.EmbedText(pb.EmbedTextRequest(texts=["the cat"]))
            seconds.append(time.monotonic() - began)
    return seconds


def test_a_collector_has_every_span_when_the_server_has_stopped(
    models_dir: Path, collector: Collector, endpoint: str
) -> None:
    with serving(models_dir, "--otlp-endpoint", endpoint) as server:
        embed(server, 30)
        assert server.stop() == 0

    names = [span.name for span in collector.spans]
    assert names.count(EMBED_TEXT) == 30
    assert names.count("compute") == 30
    assert collector.services == {"vecserve"}
    calls = {span.span_id for span in collector.spans if span.name == EMBED_TEXT}
    batches = {span.span_id: span for span in collector.spans if span.name == "batch"}
    assert {link.span_id for batch in batches.values() for link in batch.links} == calls
    assert {link.span_id for span in collector.spans if span.name == "compute" for link in span.links} == set(batches)


def test_opentelemetrys_own_variables_are_heeded(
    models_dir: Path, collector: Collector, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "embeddings")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.3")
    with serving(models_dir) as server:
        embed(server, 200)
        assert server.stop() == 0

    sampled = [span for span in collector.spans if span.name == EMBED_TEXT]
    assert 20 < len(sampled) < 120
    assert len([span for span in collector.spans if span.name == "batch"]) == len(sampled)
    assert collector.services == {"embeddings"}


def test_a_collector_that_is_down_costs_calls_nothing_and_the_stop_little(models_dir: Path) -> None:
    with serving(models_dir, "--otlp-endpoint", f"http://{free_address()}") as server:
        seconds = embed(server, 400)
        began = time.monotonic()
        assert server.stop() == 0
        stopping = time.monotonic() - began

    assert max(seconds) < 1
    assert stopping < 8
    assert any("collector has not taken all traces" in line for line in server.log)


def test_without_the_extra_the_start_fails_with_what_to_install(models_dir: Path, tmp_path: Path) -> None:
    """A package that can't be imported takes the place of the one that is installed here."""
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").write_text("raise ImportError('not installed')")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    flags = ["--models", str(models_dir), "--address", "127.0.0.1:0"]
    command = [sys.executable, "-m", "vecserve", "serve", *flags]
    asked = [*command, "--otlp-endpoint", "http://127.0.0.1:4317"]
    done = subprocess.run(
        asked, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "PYTHONPATH": path}
    )

    assert done.returncode == 1
    assert "OpenTelemetry is not installed: pip install 'vecserve[tracing]'" in done.stderr


def test_nothing_of_opentelemetry_is_imported_unless_it_is_asked_for() -> None:
    program = "import sys, vecserve_server.cli; sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("switch", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_opentelemetry_can_be_switched_off_by_its_own_variables(switch: dict[str, str]) -> None:
    config = ServerConfig.from_command_line([])
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317", **switch}

    assert Telemetry(config, environment).calls is None


def test_a_protocol_that_is_not_spoken_is_refused() -> None:
    config = ServerConfig.from_command_line(["--otlp-endpoint", "http://127.0.0.1:4318"])
    with pytest.raises(TracingError, match=r"OTEL_EXPORTER_OTLP_PROTOCOL is 'http/protobuf', and .* 'grpc' only"):
        Telemetry(config, {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"})


def test_without_anything_asked_for_nothing_observes_calls_or_the_engine() -> None:
    telemetry = Telemetry(ServerConfig.from_command_line([]), {})

    assert telemetry.calls is None
    assert telemetry.engine == []
