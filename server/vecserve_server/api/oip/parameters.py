"""Parameters of a request, checked. Pure."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from vecserve.oip import grpc_inference_service_pb2 as pb
from vecserve.v1 import embedding_service_pb2 as vecserve_pb
from vecserve_server.api.vectors import NORMALIZATIONS, VectorEncoding
from vecserve_server.engine.errors import Violation
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.terms import Terms
from vecserve_server.models.inputs import Truncation
from vecserve_server.models.manifest import Manifest

Value = str | int
T = TypeVar("T")

_ELEMENT_TYPES: Mapping[Value, vecserve_pb.ElementType.ValueType] = {
    "FP32": vecserve_pb.ELEMENT_TYPE_FLOAT32,
    "FP16": vecserve_pb.ELEMENT_TYPE_FLOAT16,
}

_TRUNCATIONS = {truncation.value: truncation for truncation in Truncation}

# As in Triton, 1 is the most urgent, and 0 leaves it open.
_PRIORITIES: Mapping[Value, Priority | None] = {
    **{priority.value: priority for priority in Priority},
    0: None,
    1: Priority.INTERACTIVE,
    2: Priority.BULK,
}

_COMMON = ("dimensionality", "element_type", "normalization", "priority", "timeout")
_OF_TEXTS = ("prompt", "truncation")

# Of a message with a million names, telling them all would keep other calls waiting.
_UNKNOWN_TOLD = 16

# perf_analyzer sends it with every request. It is about streams; the one response of a call is its final one.
_WITHOUT_EFFECT = {"triton_enable_empty_final_response"}


@dataclass(frozen=True, slots=True)
class InferOptions:
    """What a request asks for beside its tensors, nothing left open but what the call's metadata decides."""

    encoding: VectorEncoding
    truncation: Truncation
    prompt: str
    priority: Priority | None
    timeout: float | None
    """In seconds."""

    def terms(self, call: Terms, now: float) -> Terms:
        """The call's terms with what the parameters say instead."""
        deadline = call.deadline if self.timeout is None else min(call.deadline, now + self.timeout)
        return dataclasses.replace(
            call,
            deadline=deadline,
            priority=self.priority or call.priority,
            normalized=self.encoding.takes_normalized,
        )


def read_parameters(
    given: Mapping[str, pb.InferParameter],
    manifest: Manifest,
    prompts: Mapping[str, str] | None,
    violations: list[Violation],
) -> InferOptions:
    """The options of a request to a model; without `prompts`, those of texts are not known.

    Adds every parameter that is unknown or has a value that is not allowed to `violations`.
    """
    known = sorted(_COMMON if prompts is None else _COMMON + _OF_TEXTS)
    for name in sorted(set(given) - set(known) - _WITHOUT_EFFECT)[:_UNKNOWN_TOLD]:
        description = f"is not known for these inputs; known are: {', '.join(known)}"
        violations.append(Violation(f"parameters.{name}", description))
    reader = _Reader({name: given[name] for name in known if name in given}, violations)
    default = VectorEncoding.of(vecserve_pb.VectorOptions(), manifest)
    encoding = VectorEncoding(
        reader.choice("dimensionality", {size: size for size in manifest.supported_dimensionalities})
        or default.dimensionality,
        reader.choice("element_type", _ELEMENT_TYPES) or default.element_type,
        reader.choice("normalization", NORMALIZATIONS) or default.normalization,
        default.model_dimensionality,
    )
    return InferOptions(
        encoding,
        reader.choice("truncation", _TRUNCATIONS) or Truncation.END,
        reader.choice("prompt", {name: name for name in prompts or ()}) or "",
        reader.choice("priority", _PRIORITIES),
        reader.microseconds("timeout"),
    )


class _Reader:
    """Reads parameters, and takes note of values that are not allowed."""

    def __init__(self, given: Mapping[str, pb.InferParameter], violations: list[Violation]) -> None:
        self._given = given
        self._violations = violations

    def choice(self, name: str, allowed: Mapping[Value, T] | Mapping[str, T] | Mapping[int, T]) -> T | None:
        """What a value stands for; None if the parameter is not given, or wrong."""
        value = self._value(name)
        if value is None:
            return None
        for known, meaning in allowed.items():
            if value == known:
                return meaning
        self._refuse(name, value, ", ".join(map(_quoted, allowed)) or "none, as the model has none")
        return None

    def microseconds(self, name: str) -> float | None:
        """A duration in seconds; None if the parameter is not given, wrong, or 0."""
        value = self._value(name)
        if value is not None and not (isinstance(value, int) and value >= 0):
            self._refuse(name, value, "whole numbers of microseconds, 0 for no limit")
            return None
        return value * 1e-6 if value else None

    def _value(self, name: str) -> Value | None:
        if name not in self._given:
            return None
        kind = self._given[name].WhichOneof("parameter_choice")
        if kind in ("int64_param", "string_param", "uint64_param"):
            return getattr(self._given[name], kind)
        self._violations.append(Violation(f"parameters.{name}", f"is {_KINDS[kind]}; a string or an integer is needed"))
        return None

    def _refuse(self, name: str, value: Value, allowed: str) -> None:
        self._violations.append(Violation(f"parameters.{name}", f"is {_quoted(value)}, and allowed are: {allowed}"))


_KINDS = {"bool_param": "a truth value", "double_param": "a floating-point number", None: "empty"}


def _quoted(value: object) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)
