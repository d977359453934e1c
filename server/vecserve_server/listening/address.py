"""Addresses, and the sockets that are bound to them."""

import contextlib
import errno
import ipaddress
import os
import socket
import stat
from pathlib import Path
from typing import Any

from vecserve_server.config.types import UNIX
from vecserve_server.listening.errors import BindError

NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""A name may resolve to addresses of a family that this machine lacks."""


def host_and_port(address: str) -> tuple[str, int]:
    """The parts of HOST:PORT, without the brackets of an IPv6 address."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def unix_path(address: str) -> Path | None:
    """The path of a unix:PATH address; None of another."""
    return Path(address.removeprefix(UNIX)) if address.startswith(UNIX) else None


def is_local(address: str) -> bool:
    """Whether only this machine can reach it."""
    if unix_path(address):
        return True
    host, _ = host_and_port(address)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def bound_sockets(address: str, *, shared: bool = False, mode: int = 0o660) -> list[socket.socket]:
    """Sockets on HOST:PORT, one for each address of the host, or on unix:PATH, with these permissions.

    Args:
        address: Port 0 takes a free one, the same for all.
        shared: Whether other processes listen on the same port.
        mode: Permissions of a Unix socket.

    Raises:
        BindError: it is taken, or can't be had here.
    """
    try:
        if path := unix_path(address):
            return [_bound_path(path, mode)]
        return _bound_port(address, shared=shared)
    except OSError as error:
        raise BindError(f"can't listen on {address}: {error.strerror or error}") from error


def _bound_port(address: str, *, shared: bool) -> list[socket.socket]:
    host, port = host_and_port(address)
    found: list[socket.socket] = []
    refusal = OSError(errno.EADDRNOTAVAIL, f"{host} has no address")
    for family, _, _, _, (ip, _, *scope) in resolve(host, port):
        try:
            found.append(_bound(family, (ip, port, *scope), shared=shared))
            port = found[-1].getsockname()[1]
        except OSError as error:
            if error.errno not in NOT_HERE:
                for each in found:
                    each.close()
                raise
            refusal = error
    if not found:
        raise refusal
    return found


def _bound(family: int, address: tuple[Any, ...], *, shared: bool) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Otherwise connections that a server before this one closed would keep the port for a minute.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind(address)
    except OSError:
        listening.close()
        raise
    return listening


def _bound_path(path: Path, mode: int) -> socket.socket:
    _require_free(path)
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~mode)  # of the whole process, but nothing else makes files so early
    try:
        listening.bind(str(path))
    except OSError as error:
        listening.close()
        raise BindError(f"can't listen on {UNIX}{path}: {_reason_of(path.parent) or error.strerror}") from error
    finally:
        os.umask(before)
    return listening


def resolve(host: str, port: int) -> list[tuple[int, int, int, str, tuple[Any, ...]]]:
    """As `getaddrinfo`, for TCP; the wildcard of either family means both."""
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_unspecified:
            return [*socket.getaddrinfo(None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)]
    return [*socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _require_free(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise BindError(f"can't listen on {UNIX}{path}: a file that is no socket is there")
    except OSError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:  # its server has died without removing it
            return
        except OSError as error:
            raise BindError(f"can't listen on {UNIX}{path}: {error.strerror}") from error
    raise BindError(f"can't listen on {UNIX}{path}: another server does")


def _reason_of(folder: Path) -> str | None:
    if not folder.is_dir():
        return "its folder does not exist"
    return None if os.access(folder, os.W_OK | os.X_OK) else "its folder can't be written to"
