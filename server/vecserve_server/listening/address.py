"""What can be found out about an address before gRPC listens on it, which tells its failures only to its log."""

import contextlib
import ipaddress
import os
import socket
import stat
from collections.abc import Generator
from pathlib import Path

from vecserve_server.config.types import UNIX
from vecserve_server.listening.errors import BindError


def bind_failure(address: str) -> str | None:
    """Why HOST:PORT or unix:PATH can't be listened on; None if it can."""
    try:
        if path := unix_path(address):
            return None if os.access(path.parent, os.W_OK | os.X_OK) else _reason_of(path.parent)
        host, port = host_and_port(address)
        family, kind, protocol, _, resolved = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(resolved)
    except OSError as error:
        return error.strerror
    return None


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


@contextlib.contextmanager
def free_path(path: Path, mode: int) -> Generator[None]:
    """Makes a path free for a Unix socket, which gets these permissions if it is made within the block.

    gRPC removes whatever socket is there, also that of a server which is alive.

    Raises:
        BindError: a server listens there, or there is something else.
    """
    _require_free(path)
    before = os.umask(0o777 & ~mode)  # of the whole process, but nothing else makes files so early
    try:
        yield
    finally:
        os.umask(before)


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


def _reason_of(folder: Path) -> str:
    return "its folder can't be written to" if folder.is_dir() else "its folder does not exist"
