"""gRPC's status codes, and what HTTP says where gRPC is silent."""

from enum import IntEnum


class Status(IntEnum):
    """How a call ended: https://grpc.io/docs/guides/status-codes. Own names, to load without grpcio."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


REFUSED_STREAM = 7
CANCEL = 8

# https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#errors; INTERNAL for all others
_BY_ERROR_CODE = {
    REFUSED_STREAM: Status.UNAVAILABLE,
    CANCEL: Status.CANCELLED,
    11: Status.RESOURCE_EXHAUSTED,  # ENHANCE_YOUR_CALM
    12: Status.PERMISSION_DENIED,  # INADEQUATE_SECURITY
}

# https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md; UNKNOWN for all others
_BY_HTTP_STATUS = {
    400: Status.INTERNAL,
    401: Status.UNAUTHENTICATED,
    403: Status.PERMISSION_DENIED,
    404: Status.UNIMPLEMENTED,
    429: Status.UNAVAILABLE,
    502: Status.UNAVAILABLE,
    503: Status.UNAVAILABLE,
    504: Status.UNAVAILABLE,
}


def of_error_code(code: int) -> Status:
    """Return the status of a call whose stream the server reset with an HTTP/2 error code."""
    return _BY_ERROR_CODE.get(code, Status.INTERNAL)


def of_http_status(code: int) -> Status:
    """Return the status of a call that was answered without `grpc-status`, by a proxy perhaps."""
    return _BY_HTTP_STATUS.get(code, Status.UNKNOWN)


def of_grpc_status(code: int) -> Status:
    """Return the status of a code that a server sent; UNKNOWN where there is none of that number."""
    return Status(code) if 0 <= code <= Status.UNAUTHENTICATED else Status.UNKNOWN
