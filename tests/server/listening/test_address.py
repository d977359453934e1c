import os
import socket
import stat
from pathlib import Path

import pytest

from vecserve_server.listening.address import bound_sockets, is_local, unix_path
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


def test_why_an_address_cannot_be_listened_on_is_told(tmp_path: Path) -> None:
    with pytest.raises(BindError, match=f"can't listen on unix:{tmp_path}/none/socket: its folder does not exist"):
        bound_sockets(f"unix:{tmp_path}/none/socket")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(BindError, match=f"can't listen on {address}: Address already in use"):
            bound_sockets(address)
    with pytest.raises(BindError, match=r"can't listen on 192\.0\.2\.1:0: Cannot assign requested address"):
        bound_sockets("192.0.2.1:0")


def test_the_wildcard_is_every_address_and_one_free_port() -> None:
    bound = bound_sockets("0.0.0.0:0")

    assert len({each.getsockname()[1] for each in bound}) == 1
    assert {each.family for each in bound} >= {socket.AF_INET}
    for each in bound:
        each.close()


def test_a_port_is_shared_only_with_those_who_share_it() -> None:
    (first,) = bound_sockets("127.0.0.1:0", shared=True)
    address = f"127.0.0.1:{first.getsockname()[1]}"

    (second,) = bound_sockets(address, shared=True)
    second.listen()
    first.listen()
    with pytest.raises(BindError):
        bound_sockets(address)
    first.close()
    second.close()


def test_a_socket_of_a_dead_server_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    (listening,) = bound_sockets(f"unix:{path}")

    assert listening.getsockname() == str(path)
    listening.close()


def test_a_live_server_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(path))
        live.listen()
        with pytest.raises(BindError, match=f"can't listen on unix:{path}: another server does"):
            bound_sockets(f"unix:{path}")


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("important")

    with pytest.raises(BindError, match="a file that is no socket is there"):
        bound_sockets(f"unix:{path}")

    assert path.read_text() == "important"


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_a_socket_has_its_permissions_from_the_start(tmp_path: Path, mode: int) -> None:
    before = os.umask(0o022)
    try:
        path = tmp_path / "socket"
        (listening,) = bound_sockets(f"unix:{path}", mode=mode)
        listening.close()
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
