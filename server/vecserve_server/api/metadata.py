"""What travels beside the messages of a call: its id, its deadline, its timings."""

import math
import random
import re
import secrets
from collections.abc import Iterable
from typing import Any, cast

from grpc.aio import ServicerContext

from vecserve_server.engine.errors import InvalidInputError, Violation
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.terms import Terms
from vecserve_server.engine.timings import Timings

REQUEST_ID = "x-request-id"
PRIORITY = "x-vecserve-priority"
SERVER_TIMING = "server-timing"

_PRIORITIES = {priority.value: priority for priority in Priority}

# What may be echoed into a log line and a header.
_REQUEST_ID_FORM = re.compile(r"[\x21-\x7e]{1,128}")

# Ids are no secrets: asking the system for each would let go of the interpreter's lock, and wait for it when busy.
_ids = random.Random(secrets.randbits(256))  # noqa: S311 (see above)

AnyContext = ServicerContext[Any, Any]


def request_id(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """The call's id: the first `x-request-id` that can be echoed, else a new one."""
    for key, value in metadata:
        if key == REQUEST_ID and isinstance(value, str) and _REQUEST_ID_FORM.fullmatch(value):
            return value
    return f"{_ids.getrandbits(128):032x}"


def terms(context: AnyContext, now: float, *, waits_for_room: bool = False) -> Terms:
    """What the call asks of the engine, whose clock shows `now`: its deadline and its priority.

    Raises:
        InvalidInputError: `x-vecserve-priority` names no priority.
    """
    remaining = cast("float | None", context.time_remaining())  # the stubs know no call without a deadline
    deadline = math.inf if remaining is None else now + remaining
    return Terms(deadline, priority_of(context.invocation_metadata() or ()), waits_for_room)


def priority_of(metadata: Iterable[tuple[str, str | bytes]]) -> Priority:
    """The priority that a call asks for.

    Raises:
        InvalidInputError: `x-vecserve-priority` names none.
    """
    for key, value in metadata:
        if key == PRIORITY:
            if value not in _PRIORITIES:
                raise InvalidInputError(
                    [Violation(PRIORITY, f"is '{value}', which is none of {', '.join(_PRIORITIES)}")]
                )
            return _PRIORITIES[value]
    return Priority.INTERACTIVE


def server_timing(timings: Timings) -> str:
    """Durations in milliseconds, in the form of HTTP's Server-Timing header."""
    return (
        f"preprocess;dur={timings.preprocess * 1e3:.2f}, queue;dur={timings.queue * 1e3:.2f}, "
        f"infer;dur={timings.infer * 1e3:.2f}"
    )


def add_trailing_metadata(context: AnyContext, key: str, value: str) -> None:
    """Adds to what the call's trailers will carry."""
    context.set_trailing_metadata((*(context.trailing_metadata() or ()), (key, value)))
