"""What travels beside the messages of a call: its id, its deadline, its timings."""

import math
import re
import uuid
from typing import Any, cast

from grpc.aio import ServicerContext

from vecserve_server.engine.engine import Timings

REQUEST_ID = "x-request-id"
SERVER_TIMING = "server-timing"

# What may be echoed into a log line and a header.
_REQUEST_ID_FORM = re.compile(r"[\x21-\x7e]{1,128}")

AnyContext = ServicerContext[Any, Any]


def request_id(context: AnyContext) -> str:
    """The call's id: that of its trailers, else the caller's `x-request-id` if it can be echoed, else a new one."""
    for key, value in (*(context.trailing_metadata() or ()), *(context.invocation_metadata() or ())):
        if key == REQUEST_ID and isinstance(value, str) and _REQUEST_ID_FORM.fullmatch(value):
            return value
    return uuid.uuid4().hex


def patience(context: AnyContext) -> float:
    """Seconds until the caller's deadline; infinite without one."""
    remaining = cast("float | None", context.time_remaining())  # the stubs know no call without a deadline
    return math.inf if remaining is None else remaining


def server_timing(timings: Timings) -> str:
    """Durations in milliseconds, in the form of HTTP's Server-Timing header."""
    return (
        f"preprocess;dur={timings.preprocess * 1e3:.2f}, queue;dur={timings.queue * 1e3:.2f}, "
        f"infer;dur={timings.infer * 1e3:.2f}"
    )


def add_trailing_metadata(context: AnyContext, key: str, value: str) -> None:
    """Adds to what the call's trailers will carry."""
    context.set_trailing_metadata((*(context.trailing_metadata() or ()), (key, value)))
