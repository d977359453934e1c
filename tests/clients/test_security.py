from collections.abc import Callable
from pathlib import Path

import pytest
from scripted_server import Server

from vecserve import Client, Tls
from vecserve.cli import main
from vecserve.security import is_local

Connect = Callable[..., Client]

TOKEN = "a-token-of-sufficient-length"


def sent(server: Server) -> list[str]:
    return [call.metadata.get("authorization", "") for call in server.calls]


def test_a_token_goes_with_every_request(connect: Connect, server: Server) -> None:
    connect(token=TOKEN, batch_size=1).embed_text(["a", "b"])

    assert sent(server) == [f"Bearer {TOKEN}"] * 2


def test_a_function_is_asked_for_the_token_of_each_request(connect: Connect, server: Server) -> None:
    numbers = iter(range(9))
    client = connect(token=lambda: f"token-{next(numbers)}")
    for _ in range(2):
        client.embed_text(["a"])

    assert sent(server) == ["Bearer token-0", "Bearer token-1"]


@pytest.mark.parametrize("address", ["10.0.0.1:1", "vecserve.example:1", "dns:///localhost:1"])
def test_a_token_is_not_sent_over_a_network_in_plain_text_unless_that_is_allowed(address: str) -> None:
    with pytest.raises(ValueError, match="would be sent in plain text") as refused:
        Client(address, token=TOKEN)
    assert TOKEN not in str(refused.value)
    Client(address, token=TOKEN, plaintext_token=True).close()
    Client(address, token=TOKEN, tls=Tls()).close()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1", "localhost:1", "unix:/run/a", "unix-abstract:a"])
def test_what_stays_on_this_machine_is_local(address: str) -> None:
    assert is_local(address)
    Client(address, token=TOKEN).close()


def test_a_certificate_needs_its_key() -> None:
    with pytest.raises(ValueError, match="cert and key go together"):
        Tls(cert="a.pem")


def test_a_file_that_is_not_there_is_told_when_the_client_is_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Client("localhost:1", tls=Tls(ca=tmp_path / "none.pem"))


def test_commands_send_the_token_of_a_file_or_of_the_environment(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["embed", "text", "a", "--json", "--address", server.address]
    monkeypatch.setenv("VECSERVE_TOKEN", "of-the-environment")
    assert main(command) == 0
    (tmp_path / "token").write_text("of-the-file\n")
    assert main([*command, "--token-file", str(tmp_path / "token")]) == 0

    assert sent(server) == ["Bearer of-the-environment", "Bearer of-the-file"]


@pytest.mark.parametrize("command", [["models"], ["bench"]])
def test_commands_keep_a_token_from_a_network(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VECSERVE_TOKEN", TOKEN)
    try:
        status = main([*command, "--address", "vecserve.example:1"])
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    assert "would be sent in plain text" in (shown := capsys.readouterr().err)
    assert TOKEN not in shown


def test_options_of_tls_that_lack_others_are_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--tls-cert", "a.pem"]) == 2
    assert "cert and key go together" in capsys.readouterr().err
