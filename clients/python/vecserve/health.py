"""grpc.health.v1 without its package: one field each way."""

CHECK = "/grpc.health.v1.Health/Check"

_SERVICE_TAG = 0x0A  # field 1 of HealthCheckRequest, a string
_SERVING = b"\x08\x01"  # HealthCheckResponse whose field 1, the status, is SERVING


def check_request(service: str) -> bytes:
    """Return a HealthCheckRequest.

    Raises:
        ValueError: If the name has more than 127 bytes in UTF-8.
    """
    name = service.encode()
    if len(name) > 127:
        raise ValueError(f"service has {len(name)} bytes, and at most 127 are allowed")
    return bytes((_SERVICE_TAG, len(name))) + name if name else b""


def is_serving(response: bytes) -> bool:
    """Return whether a HealthCheckResponse says so."""
    return response == _SERVING
