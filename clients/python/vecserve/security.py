"""What a client shows a server, and what it wants to see."""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import grpc

Token: TypeAlias = str | Callable[[], str]
"""A bearer token, or what returns the one of the moment, which is asked before each request."""

_LOCAL_SCHEMES = ("unix:", "unix-abstract:")


@dataclass(frozen=True, slots=True)
class Tls:
    """A connection over TLS. Files are PEM, read when the client is made.

    Raises:
        ValueError: On one of `cert` and `key` without the other.
    """

    ca: Path | str | None = None
    """File of the authorities that may have signed the server's certificate; None for those that gRPC brings along."""
    cert: Path | str | None = None
    """File of the client's own certificate, where the server asks for one."""
    key: Path | str | None = None
    """File of its private key."""
    server_name: str = ""
    """Name that the server's certificate must be for, where it isn't the address's host."""

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key go together, and only one of them is given")

    def credentials(self) -> grpc.ChannelCredentials:
        """Return the same for gRPC.

        Raises:
            OSError: If a file can't be read.
        """
        return grpc.ssl_channel_credentials(_read(self.ca), _read(self.key), _read(self.cert))


def is_local(address: str) -> bool:
    """Return whether what is sent to an address, or to several, stays on this machine."""
    if address.startswith(_LOCAL_SCHEMES):
        return True
    return all(map(_is_loopback, address.removeprefix("ipv4:").removeprefix("ipv6:").split(",")))


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_token_is_private(address: str, *, tls: bool) -> None:
    """Raise ValueError where a token would be sent over a network in plain text."""
    if not tls and not is_local(address):
        raise ValueError(
            f"a token for {address} would be sent in plain text, for all on the way to read: use TLS, or allow it with "
            "plaintext_token, --plaintext-token of the commands"
        )


def _read(file: Path | str | None) -> bytes | None:
    return None if file is None else Path(file).read_bytes()
