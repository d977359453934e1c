"""One log line a call, at debug."""

import logging
from typing import Any

from vecserve_server.models.inputs import AnyInputs, ImageInputs, TextInputs
from vecserve_server.telemetry.calls import Call, CallObserver
from vecserve_server.telemetry.logs import fields

logger = logging.getLogger(__name__)


class CallLog(CallObserver):
    """An observer that logs calls and messages of streams when they have ended."""

    def __init__(self, *, with_inputs: bool) -> None:
        """Logs what calls bring only `with_inputs`: texts as they are, of images the size."""
        self._with_inputs = with_inputs

    def ended(self, call: Call) -> None:
        told = _described(call)
        if self._with_inputs and call.inputs is not None:
            told["inputs"] = _shown(call.inputs)
        words = " ".join(f"{name}={value}" for name, value in told.items())
        logger.debug("%s %s", "message" if call.stream else "call", words, extra=fields(**told))


def _described(call: Call) -> dict[str, Any]:
    told: dict[str, Any] = {
        "method": call.method,
        "model": f"{call.model.name}@{call.model.version}" if call.model else "",
        "code": call.code,
        "items": len(call.inputs) if call.inputs is not None else 0,
        "duration_ms": round(call.seconds * 1e3, 3),
        "request_id": call.request_id,
        "peer": call.peer,
    }
    if call.trace_id:
        told["trace_id"] = call.trace_id
    if call.error:
        told["error"] = type(call.error).__name__
    return told


def _shown(inputs: AnyInputs) -> list[str]:
    match inputs:
        case TextInputs(texts):
            return list(texts)
        case ImageInputs(contents):
            return [f"{len(content)} bytes" for content in contents]
        case _:
            return [f"{len(inputs)} tensors"]
