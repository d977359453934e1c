"""Calls and how long they took, as metrics."""

from collections import Counter as Counts
from functools import cache

from vecserve_server.engine.errors import (
    BatchTooLargeError,
    InvalidInputError,
    ModelNotFoundError,
    NotReadyError,
    WrongModalityError,
)
from vecserve_server.engine.terms import Terms
from vecserve_server.telemetry.calls import Call, CallObserver
from vecserve_server.telemetry.labelled import Families, LabelledCounter

# From the cheapest call to one that waited as long as anybody lets it.
_CALL_SECONDS = (
    *(0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.075),
    *(0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
_STAGE_SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)

# Subclasses before their bases. The engine tells by itself why it refuses.
_REASONS: list[tuple[type[Exception], str]] = [
    (BatchTooLargeError, "batch_too_large"),
    (WrongModalityError, "wrong_modality"),
    (InvalidInputError, "invalid_input"),
    (ModelNotFoundError, "model_not_found"),
    (NotReadyError, "not_ready"),
]


@cache
def _reason(kind: type[Exception]) -> str | None:
    return next((reason for known, reason in _REASONS if issubclass(kind, known)), None)


class CallMetrics(CallObserver):
    """An observer of calls that counts them, and times those that were answered."""

    def __init__(self, families: Families, refused: LabelledCounter) -> None:
        self._refused = refused
        self._calls = families.counter("calls", "Calls that have ended", "method", "model", "code")
        self._messages = families.counter("stream_messages", "Messages of streams that have ended", "model", "code")
        self._seconds = families.durations(
            "call_duration_seconds",
            "Time of calls and messages of streams that got their vectors",
            *("method", "model", "priority"),
            buckets=_CALL_SECONDS,
        )
        self._stages = families.durations(
            "stage_duration_seconds",
            "Time that these took, stage by stage",
            *("model", "priority", "stage"),
            buckets=_STAGE_SECONDS,
        )
        self.in_flight: Counts[str] = Counts()
        """Calls that have not ended, by method."""

    def began(self, call: Call) -> None:
        if not call.stream:
            self.in_flight[call.method] += 1

    def ended(self, call: Call) -> None:
        model = call.model_name
        if call.stream:
            self._messages[model, call.code].inc()
        else:
            self.in_flight[call.method] -= 1
            self._calls[call.method, model, call.code].inc()
        if call.error:
            self._refuse(model, call.error)
        elif call.terms and call.code == "OK":
            self._time(call, call.terms, model)

    def _refuse(self, model: str, error: Exception) -> None:
        if reason := _reason(type(error)):
            self._refused[model, reason].inc()

    def _time(self, call: Call, terms: Terms, model: str) -> None:
        priority = terms.priority.value
        self._seconds[call.method, model, priority].observe(call.seconds)
        for stage, begin, end in terms.progress.stages(call.ended):
            self._stages[model, priority, stage].observe(end - begin)
