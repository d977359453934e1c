"""One port for several processes, by SO_REUSEPORT."""

import contextlib
import errno
import ipaddress
import socket
from collections.abc import Generator
from typing import Any

from vecserve_server.listening.errors import BindError

# A name may resolve to addresses of a family that this machine lacks.
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


@contextlib.contextmanager
def reserved(address: str) -> Generator[str]:
    """Keeps HOST:PORT for servers of this user with SO_REUSEPORT; yields it, with the port that was found for port 0.

    Nothing listens here, so that connections reach those servers only. While it lasts, servers without SO_REUSEPORT and
    those of other users can't listen on the address, whether or not one of ours does, and a second reservation is
    refused. What the kernel does not refuse is a server of the same user that sets SO_REUSEPORT itself, as gRPC does
    by default: it would take its share of the connections.

    Raises:
        BindError: the address is taken, or not of this machine.
    """
    host, _, port = address.rpartition(":")
    with contextlib.ExitStack() as holders:
        try:
            for family, (ip, _, *scope) in _available(host.strip("[]"), int(port)):
                holder = holders.enter_context(socket.socket(family, socket.SOCK_STREAM))
                _hold(holder, (ip, int(port), *scope))
                port = holder.getsockname()[1]
        except OSError as error:
            raise BindError(f"can't listen on {address}: {error.strerror}") from error
        yield f"{host}:{port}"


def _available(host: str, port: int) -> list[tuple[int, tuple[Any, ...]]]:
    """Families and addresses of a host that this machine has, at least one; OSError if a server is on any."""
    found: list[tuple[int, tuple[Any, ...]]] = []
    refusal = OSError(errno.EADDRNOTAVAIL, f"{host} has no address")
    for family, _, _, _, address in _resolve(host, port):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
            refusal = error
        else:
            found.append((family, address))
    if not found:
        raise refusal
    return found


def _resolve(host: str, port: int) -> list[tuple[int, int, int, str, tuple[Any, ...]]]:
    """As gRPC does it: for the wildcard of either family it listens on both."""
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_unspecified:
            return [*socket.getaddrinfo(None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)]
    return [*socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _hold(holder: socket.socket, address: tuple[Any, ...]) -> None:
    # Connections that a server before this one closed are still on the port: with SO_REUSEADDR they don't count. But
    # as long as it is set, another server's SO_REUSEADDR lets it listen on a port that is bound and not listened on.
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    holder.bind(address)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
