"""Spans of real calls to an engine in this process, as its exporter gets them."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import grpc
import pytest
import pytest_asyncio
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, SpanKind, StatusCode

from vecserve.v1 import embedding_service_pb2 as pb
from vecserve.v1.embedding_service_pb2_grpc import EmbeddingServiceStub, add_EmbeddingServiceServicer_to_server
from vecserve_server.api.embedding import EmbeddingServicer
from vecserve_server.api.gate import Gate
from vecserve_server.api.intake import Intake
from vecserve_server.api.interceptor import CallInterceptor
from vecserve_server.engine.catalog import Catalog
from vecserve_server.engine.engine import Engine
from vecserve_server.engine.observer import Observers
from vecserve_server.engine.settings import EngineSettings
from vecserve_server.listening.address import bound_sockets
from vecserve_server.models.model import TextModel
from vecserve_server.telemetry.tracing import Tracing
from vecserve_wire.limits import Limits
from vecserve_wire.server import Server

EMBED_TEXT = "vecserve.v1.EmbeddingService/EmbedText"
STREAM_EMBED = "vecserve.v1.EmbeddingService/StreamEmbed"

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

Stub = Any
"""Of EmbeddingService on an asynchronous channel, whose types are those of a synchronous one."""
Exported = Callable[[], Awaitable[dict[str, list[ReadableSpan]]]]
"""Ends tracing, and returns all spans by name."""


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exporter: InMemorySpanExporter) -> Tracing:
    return Tracing(exporter)


@pytest.fixture
def model(text_model: TextModel, monkeypatch: pytest.MonkeyPatch) -> TextModel:
    """The tiny one, but slow enough for calls to share batches."""
    run = text_model.run

    def run_slowly(payloads: Any, *, alone: bool = False) -> Any:
        time.sleep(0.005)
        return run(payloads, alone=alone)

    monkeypatch.setattr(text_model, "run", run_slowly)
    return text_model


@pytest_asyncio.fixture
async def stub(model: TextModel, tracing: Tracing) -> AsyncIterator[Stub]:
    settings = EngineSettings(1, 1, batch_tokens=256, batch_images=4, max_queue_seconds=10.0)
    engine = Engine(Catalog([model]), settings, observer=Observers([tracing.batches]))
    engine.start()
    gate = Gate()
    gate.open(engine)
    intake = Intake(max_calls=64, max_bytes=2**20)
    server = Server(Limits(), CallInterceptor(intake, observer=tracing.calls))
    servicer = EmbeddingServicer(gate, intake, max_items=64, max_stream_requests=16)
    add_EmbeddingServiceServicer_to_server(servicer, cast("grpc.aio.Server", server))
    (listening,) = bound_sockets("127.0.0.1:0")
    port = listening.getsockname()[1]
    await server.listen(listening)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield EmbeddingServiceStub(channel)  # pyright: ignore[reportArgumentType, reportCallIssue] (they know sync ones)
    await server.stop(0)
    await engine.stop()


@pytest.fixture
def exported(tracing: Tracing, exporter: InMemorySpanExporter) -> Exported:
    async def exported() -> dict[str, list[ReadableSpan]]:
        await asyncio.sleep(0.05)  # the server ends a call after its client has the answer
        await tracing.close(10)
        spans: dict[str, list[ReadableSpan]] = {}
        for span in exporter.get_finished_spans():
            spans.setdefault(span.name, []).append(span)
        return spans

    return exported


def context(span: ReadableSpan) -> SpanContext:
    assert span.context
    return span.context


def linked(span: ReadableSpan) -> set[int]:
    return {link.context.span_id for link in span.links}


def times(span: ReadableSpan) -> tuple[int, int]:
    assert span.start_time
    assert span.end_time
    return span.start_time, span.end_time


async def test_a_call_has_a_span_with_one_for_each_stage(stub: Stub, exported: Exported) -> None:
    await stub.EmbedText(pb.EmbedTextRequest(texts=["the cat", "sat"]), metadata=(("x-request-id", "me"),))

    spans = await exported()

    (call,) = spans[EMBED_TEXT]
    assert call.kind is SpanKind.SERVER
    assert call.parent is None
    assert call.status.status_code is StatusCode.UNSET
    attributes = dict(call.attributes or {})
    assert attributes.pop("network.peer.address") == "127.0.0.1"
    assert attributes.pop("network.peer.port")
    assert attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": EMBED_TEXT,
        "rpc.response.status_code": "OK",
        "vecserve.request_id": "me",
        "vecserve.model.name": "tiny-text",
        "vecserve.model.version": "1",
        "vecserve.items": 2,
        "vecserve.priority": "interactive",
    }
    stages = [spans[name][0] for name in ("preprocess", "queue", "compute", "respond")]
    assert all(stage.parent and stage.parent.span_id == context(call).span_id for stage in stages)
    ends = [times(stage) for stage in stages]
    assert times(call)[0] <= ends[0][0]
    assert all(before[1] == after[0] for before, after in itertools.pairwise(ends))
    assert ends[-1][1] == times(call)[1]


async def test_a_call_goes_on_with_the_trace_of_its_caller(stub: Stub, exported: Exported) -> None:
    metadata = (("traceparent", f"00-{TRACE}-{PARENT}-01"), ("tracestate", "vendor=value"))
    await stub.EmbedText(pb.EmbedTextRequest(texts=["the cat"]), metadata=metadata)

    (call,) = (await exported())[EMBED_TEXT]

    assert f"{context(call).trace_id:032x}" == TRACE
    assert call.parent
    assert f"{call.parent.span_id:016x}" == PARENT
    assert call.parent.is_remote
    assert context(call).trace_state.get("vendor") == "value"


async def test_what_the_caller_does_not_sample_leaves_no_span(stub: Stub, exported: Exported) -> None:
    metadata = (("traceparent", f"00-{TRACE}-{PARENT}-00"),)
    await stub.EmbedText(pb.EmbedTextRequest(texts=["the cat"]), metadata=metadata)

    assert await exported() == {}


async def test_a_traceparent_that_is_none_begins_a_trace(stub: Stub, exported: Exported) -> None:
    await stub.EmbedText(pb.EmbedTextRequest(texts=["the cat"]), metadata=(("traceparent", "00-nonsense"),))

    (call,) = (await exported())[EMBED_TEXT]
    assert call.parent is None


async def test_batches_and_the_calls_they_served_are_linked(stub: Stub, exported: Exported) -> None:
    requests = [pb.EmbedTextRequest(texts=["the cat sat"] * 10) for _ in range(8)]
    await asyncio.gather(*(stub.EmbedText(request) for request in requests))

    spans = await exported()

    batches = {context(batch).span_id: batch for batch in spans["batch"]}
    calls = {context(call).span_id: call for call in spans[EMBED_TEXT]}
    assert len(calls) == 8
    assert sum(_count(batch, "vecserve.batch.items") for batch in batches.values()) == 80
    for compute in spans["compute"]:
        assert compute.parent
        served_by = linked(compute)
        assert served_by == {number for number, batch in batches.items() if compute.parent.span_id in linked(batch)}
        assert served_by
        assert times(compute)[0] <= min(times(batches[number])[0] for number in served_by) + 1_000_000
    assert any(len(linked(batch)) > 1 for batch in batches.values()), "no batch served two calls"


async def test_a_call_that_fails_has_its_error_and_as_many_stages_as_it_came_through(
    stub: Stub, exported: Exported
) -> None:
    for texts in (["the crash"], [""]):
        with pytest.raises(grpc.RpcError):
            await stub.EmbedText(pb.EmbedTextRequest(texts=texts))

    spans = await exported()

    failed, refused = sorted(spans[EMBED_TEXT], key=lambda span: times(span))
    assert failed.status.status_code is StatusCode.ERROR
    assert (failed.attributes or {})["error.type"] == "INTERNAL"
    assert refused.status.status_code is StatusCode.UNSET  # it is the caller's error
    assert (refused.attributes or {})["rpc.response.status_code"] == "INVALID_ARGUMENT"
    assert [len(spans[name]) for name in ("preprocess", "queue", "compute", "batch")] == [1] * 4
    assert "respond" not in spans
    assert spans["batch"][0].status.status_code is StatusCode.ERROR
    assert not any("crash" in str(span.to_json()) for each in spans.values() for span in each)


async def test_each_message_of_a_stream_has_a_span_in_that_of_the_stream(stub: Stub, exported: Exported) -> None:
    messages = [pb.StreamEmbedRequest(id=str(n), text=pb.EmbedTextRequest(texts=["cat"])) for n in range(3)]
    answers = [answer async for answer in stub.StreamEmbed(iter(messages))]
    assert len(answers) == 3

    spans = await exported()

    (stream,) = spans[STREAM_EMBED]
    answered = spans[f"{STREAM_EMBED} message"]
    assert [message.parent and message.parent.span_id for message in answered] == [context(stream).span_id] * 3
    parents = {stage.parent.span_id for stage in spans["compute"] if stage.parent}
    assert parents == {context(message).span_id for message in answered}


def _count(span: ReadableSpan, name: str) -> int:
    value = (span.attributes or {})[name]
    assert isinstance(value, int)
    return value
