"""Kinds of values that settings have."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

UNIX = "unix:"
"""What the address of a Unix socket begins with; a path follows."""

# What fits into a `sockaddr_un` on Linux, beside the byte that ends it; 103 on macOS.
_MOST_PATH_BYTES = 103


def _host_and_port(address: str) -> str:
    host, separator, port = address.rpartition(":")
    if not separator or not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError("must be HOST:PORT with a port from 0 to 65535, e.g. 0.0.0.0:50051 or [::]:50051")
    return address


def _listened_on(address: str) -> str:
    if not address.startswith(UNIX):
        return _host_and_port(address)
    path = address.removeprefix(UNIX).removeprefix("//")
    if not path or len(path.encode()) > _MOST_PATH_BYTES:
        raise ValueError(f"must be unix:PATH with a path of at most {_MOST_PATH_BYTES} bytes")
    return f"{UNIX}{path}"


def _mode(text: str) -> str:
    if not re.fullmatch("[0-7]{3}", text):
        raise ValueError("must be three octal digits, e.g. 660 for the owner and the group")
    return text


Address = Annotated[str, AfterValidator(_host_and_port)]
"""HOST:PORT."""
ListenAddress = Annotated[str, AfterValidator(_listened_on)]
"""HOST:PORT or unix:PATH."""
FileMode = Annotated[str, AfterValidator(_mode)]
"""Permissions in octal."""
Count = Annotated[int, Field(gt=0)]
Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
SecondsOrNever = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""0 for never."""
