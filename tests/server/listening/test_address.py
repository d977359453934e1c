import os
import socket
import stat
from pathlib import Path

import pytest

from vecserve_server.listening.address import bind_failure, free_path, is_local, unix_path
from vecserve_server.listening.errors import BindError


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/run/vecserve.sock", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("vecserve.example:1", False),
    ],
)
def test_an_address_is_local_if_only_this_machine_reaches_it(address: str, local: bool) -> None:
    assert is_local(address) is local


def test_only_a_unix_address_has_a_path() -> None:
    assert unix_path("unix:/run/vecserve.sock") == Path("/run/vecserve.sock")
    assert unix_path("unix:vecserve.sock") == Path("vecserve.sock")
    assert unix_path("127.0.0.1:1") is None


def test_why_a_path_cannot_be_listened_on_is_told(tmp_path: Path) -> None:
    assert bind_failure(f"unix:{tmp_path}/socket") is None
    assert bind_failure(f"unix:{tmp_path}/none/socket") == "its folder does not exist"


def test_a_socket_of_a_dead_server_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    with free_path(path, 0o660):
        path.unlink()  # as gRPC does


def test_a_live_server_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(path))
        live.listen()
        with (
            pytest.raises(BindError, match=f"can't listen on unix:{path}: another server does"),
            free_path(path, 0o660),
        ):
            pass


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("important")

    with pytest.raises(BindError, match="a file that is no socket is there"), free_path(path, 0o660):
        pass

    assert path.read_text() == "important"


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_a_socket_has_its_permissions_from_the_start(tmp_path: Path, mode: int) -> None:
    before = os.umask(0o022)
    try:
        path = tmp_path / "socket"
        with socket.socket(socket.AF_UNIX) as server, free_path(path, mode):
            server.bind(str(path))
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
