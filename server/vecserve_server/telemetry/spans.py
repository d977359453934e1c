"""Calls, their stages and the batches that served them, as OpenTelemetry's spans."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from vecserve_server.engine.observer import Observer
from vecserve_server.engine.scheduler import Batch
from vecserve_server.telemetry.calls import Call, CallObserver

# Of the status codes, those that are the server's fault: the others leave a server's span without an error.
_SERVER_ERRORS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}

# Probes of health come every few seconds, for ever.
_UNTRACED = "grpc."

_PROPAGATOR = TraceContextTextMapPropagator()


@dataclass(slots=True, eq=False)
class CallTrace:
    """The span of a call that is sampled, and the batches that served it."""

    span: Span
    began_ns: int
    """On the wall clock: the call's other times count from here, so that a clock that is set moves none of them."""
    batches: list["ServingBatch"] = field(default_factory=list["ServingBatch"])
    """Instances add to it, before the call ends."""


@dataclass(frozen=True, slots=True)
class ServingBatch:
    """A batch with items of a call, in seconds on the engine's clock."""

    span: SpanContext
    started: float
    ended: float


class CallSpans(CallObserver):
    """An observer that makes a span of each call, as its `traceparent` and the sampler say, and one of each stage."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def began(self, call: Call) -> None:
        if call.method.startswith(_UNTRACED):
            return
        if call.stream:
            parent = set_span_in_context(call.stream.trace.span, Context()) if call.stream.trace else None
            if not parent:
                call.trace_id = call.stream.trace_id
                return
            began = call.stream.trace.began_ns + round((call.began - call.stream.began) * 1e9)
            span = self._tracer.start_span(f"{call.method} message", parent, start_time=began)
        else:
            began = time.time_ns()
            parent = _PROPAGATOR.extract(_carrier(call), Context())
            span = self._tracer.start_span(call.method, parent, SpanKind.SERVER, start_time=began)
        call.trace_id = f"{span.get_span_context().trace_id:032x}"
        if span.is_recording():
            call.trace = CallTrace(span, began)

    def ended(self, call: Call) -> None:
        trace: CallTrace | None = call.trace
        if not trace:
            return
        self._add_stages(call, trace)
        trace.span.set_attributes(_attributes(call))
        if call.code in _SERVER_ERRORS:
            trace.span.set_status(Status(StatusCode.ERROR))
        trace.span.end(_nanoseconds(call, trace, call.ended))

    def _add_stages(self, call: Call, trace: CallTrace) -> None:
        parent = set_span_in_context(trace.span, Context())
        for name, begin, end in _stages(call, trace):
            links = [Link(batch.span) for batch in trace.batches] if name == "compute" else None
            start = _nanoseconds(call, trace, begin)
            self._tracer.start_span(name, parent, links=links, start_time=start).end(_nanoseconds(call, trace, end))


class BatchSpans(Observer):
    """An observer of the engine that makes a span of each batch with items of sampled calls, linked to those calls."""

    def __init__(self, tracer: Tracer, clock: Callable[[], float] = time.monotonic) -> None:
        """Takes a tracer that samples everything, as the calls have been sampled already, and the engine's clock."""
        self._tracer = tracer
        self._clock = clock

    def ran(self, batch: Batch, seconds: float, late: int, *, failed: bool) -> None:
        traces: dict[CallTrace, None] = {item.call.trace: None for item in batch.items if item.call.trace}
        if not traces:
            return
        ended, ended_ns = self._clock(), time.time_ns()
        span = self._tracer.start_span(
            "batch",
            Context(),
            links=[Link(trace.span.get_span_context()) for trace in traces],
            attributes=_batch_attributes(batch, late),
            start_time=ended_ns - round(seconds * 1e9),
        )
        if failed:
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended_ns)
        for trace in traces:
            trace.batches.append(ServingBatch(span.get_span_context(), ended - seconds, ended))


def _carrier(call: Call) -> dict[str, str]:
    metadata = (call.caller.invocation_metadata() if call.caller else None) or ()
    return {key: value for key, value in metadata if key in ("traceparent", "tracestate") and isinstance(value, str)}


def _stages(call: Call, trace: CallTrace) -> Iterator[tuple[str, float, float]]:
    """As far as the call has come: also those of calls that failed, or gave up waiting."""
    if not call.terms:
        return
    progress = call.terms.progress
    if progress.prepared is not None and progress.ended is None:
        started = min((batch.started for batch in trace.batches), default=call.ended)
        yield "preprocess", progress.received or call.began, progress.prepared
        yield "queue", progress.prepared, started
        if trace.batches:
            yield "compute", started, max(batch.ended for batch in trace.batches)
    else:
        yield from progress.stages(call.ended)


def _nanoseconds(call: Call, trace: CallTrace, at: float) -> int:
    return trace.began_ns + round((at - call.began) * 1e9)


def _attributes(call: Call) -> Mapping[str, str | int]:
    """Those of OpenTelemetry's conventions for RPC, and ours."""
    attributes: dict[str, str | int] = {"rpc.system.name": "grpc", "rpc.method": call.method}
    attributes["rpc.response.status_code"] = call.code
    attributes["vecserve.request_id"] = call.request_id
    if call.code != "OK":
        attributes["error.type"] = call.code
    if call.model:
        attributes |= {"vecserve.model.name": call.model.name, "vecserve.model.version": call.model.version}
    if call.inputs is not None:
        attributes["vecserve.items"] = len(call.inputs)
    if call.terms:
        attributes["vecserve.priority"] = call.terms.priority.value
    return {**attributes, **_peer(call.peer)}


def _peer(peer: str) -> Mapping[str, str | int]:
    """Of `ipv4:10.0.0.7:51234` or `ipv6:%5B::1%5D:51234`."""
    kind, _, rest = peer.partition(":")
    host, _, port = rest.rpartition(":")
    if kind not in ("ipv4", "ipv6") or not port.isdecimal():
        return {}
    return {"network.peer.address": unquote(host).strip("[]"), "network.peer.port": int(port)}


def _batch_attributes(batch: Batch, late: int) -> Mapping[str, str | int]:
    return {
        "vecserve.model.name": batch.model,
        "vecserve.priority": batch.priority.value,
        "vecserve.batch.items": len(batch.items),
        "vecserve.batch.units": batch.size,
        "vecserve.batch.padding_units": batch.padded_size - batch.size,
        "vecserve.batch.late_items": late,
    }
