"""`make bench-telemetry`: what each way to follow calls adds to one, in CPU time, with handlers that do nothing."""

import asyncio
import logging
import os
import time
from typing import Any

import numpy as np
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from vecserve_server.api.intake import Intake
from vecserve_server.api.interceptor import CallInterceptor
from vecserve_server.engine.call import Call, WorkItem
from vecserve_server.engine.observer import Observer
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.scheduler import Batch
from vecserve_server.engine.terms import Terms
from vecserve_server.models.inputs import TextInputs
from vecserve_server.telemetry.call_log import CallLog
from vecserve_server.telemetry.calls import CallObserver, CallObservers, current_call
from vecserve_server.telemetry.metrics import Metrics
from vecserve_server.telemetry.tracing import Tracing

_METHOD = "/vecserve.v1.EmbeddingService/EmbedText"
_CALLS, _ROUNDS = 2000, 9
_TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{}"


class _Model:
    name, version = "bert", "1"


class _Context:
    """As much of gRPC's as the interceptor asks of it."""

    def __init__(self, flags: str) -> None:
        self._metadata = (("user-agent", "bench"), ("x-request-id", "1"), ("traceparent", _TRACEPARENT.format(flags)))
        self._trailers: tuple[Any, ...] = ()
        self.done: Any = None

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata

    def trailing_metadata(self) -> tuple[Any, ...]:
        return self._trailers

    def set_trailing_metadata(self, trailers: tuple[Any, ...]) -> None:
        self._trailers = trailers

    def add_done_callback(self, callback: Any) -> None:
        self.done = callback

    def peer(self) -> str:
        return "ipv4:127.0.0.1:50000"


class _Handler:
    """Does what the engine does for those who follow a call, and nothing else: one batch with one text."""

    def __init__(self, batches: Observer) -> None:
        self._batches = batches
        self._inputs = TextInputs(["a cat on a mat"])
        self._payload = np.zeros(8)

    async def unary_unary(self, request: Any, context: Any) -> None:
        call, terms, now = current_call(), Terms(), time.monotonic()
        call.model = _Model  # pyright: ignore[reportAttributeAccessIssue] (it has a name and a version)
        call.embeds(self._inputs, terms)
        progress = terms.progress
        progress.received, progress.prepared, progress.started, progress.ended = now, now, now, now + 0.004
        nothing: Any = None
        served = Call(nothing, nothing, nothing, trace=progress.trace)
        batch = Batch("bert", Priority.INTERACTIVE, [WorkItem(served, 0, self._payload, 8)], 0.004)
        self._batches.ran(batch, 0.004, 0, failed=False)


async def main() -> None:
    """Prints what each adds, in µs of CPU time: the least of several rounds, taken in turn."""
    logging.basicConfig(level="DEBUG", stream=open(os.devnull, "w"))  # noqa: SIM115 (as long as the process)
    metrics, tracing, log = Metrics(), Tracing(InMemorySpanExporter()), CallLog(with_inputs=False)
    metrics.batches.begin("bert")
    ways: dict[str, tuple[CallObserver | None, Observer, str]] = {
        "nothing": (None, Observer(), "01"),
        "metrics": (CallObservers([metrics.calls]), metrics.batches, "01"),
        "traces, not sampled": (CallObservers([tracing.calls]), tracing.batches, "00"),
        "traces, sampled": (CallObservers([tracing.calls]), tracing.batches, "01"),
        "a log line": (CallObservers([log]), Observer(), "01"),
    }
    costs = {name: float("inf") for name in ways}
    for _ in range(_ROUNDS):
        for name, way in ways.items():
            costs[name] = min(costs[name], await _microseconds(*way))
    for name, cost in costs.items():
        print(f"{name:20} {cost:6.1f} µs, {cost - costs['nothing']:+.1f}")
    await tracing.close(1)


async def _microseconds(observer: CallObserver | None, batches: Observer, flags: str) -> float:
    handler: Any = _Handler(batches)
    guarded = CallInterceptor(Intake(9, 9), observer=observer)._guarded(handler.unary_unary, _METHOD)  # pyright: ignore[reportPrivateUsage]
    began = time.thread_time()
    for _ in range(_CALLS):
        context: Any = _Context(flags)
        await guarded(None, context)
        if context.done:
            context.done(context)
    return (time.thread_time() - began) / _CALLS * 1e6


if __name__ == "__main__":
    asyncio.run(main())
