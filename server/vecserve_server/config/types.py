"""Kinds of values that settings have."""

from typing import Annotated

from pydantic import AfterValidator, Field


def _host_and_port(address: str) -> str:
    host, separator, port = address.rpartition(":")
    if not separator or not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError("must be HOST:PORT with a port from 0 to 65535, e.g. 0.0.0.0:50051 or [::]:50051")
    return address


Address = Annotated[str, AfterValidator(_host_and_port)]
"""HOST:PORT."""
Count = Annotated[int, Field(gt=0)]
Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
