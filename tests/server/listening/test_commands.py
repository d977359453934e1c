"""The client's commands, with a server that wants certificates or tokens, or has a Unix socket."""

import json
from pathlib import Path

import pytest
from authority import Authority
from running_server import serving

from vecserve import Client, Tls, VecserveError
from vecserve.cli import main
from vecserve.v1 import embedding_service_pb2 as pb
from vecserve.v1.embedding_service_pb2_grpc import EmbeddingServiceStub

TOKEN = "a-token-of-sufficient-length"


@pytest.fixture
def token(tmp_path: Path) -> Path:
    file = tmp_path / "tokens"
    file.write_text(f"{TOKEN}\n")
    return file


def test_commands_reach_a_server_with_certificates_and_tokens(
    models_dir: Path, tmp_path: Path, token: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue()
    mine, my_key = authority.issue("client")
    tls = ["--tls-cert", str(certificate), "--tls-key", str(key), "--tls-client-ca", str(authority.file)]
    with serving(models_dir, *tls, "--tokens-file", str(token)) as running:
        port = running.address.rpartition(":")[2]
        command = ["models", "--json", "--address", f"localhost:{port}", "--tls-ca", str(authority.file)]
        command += ["--tls-cert", str(mine), "--tls-key", str(my_key), "--timeout", "5"]
        assert main([*command, "--token-file", str(token)]) == 0
        assert [model["name"] for model in json.loads(capsys.readouterr().out)["models"]] == ["tiny-image", "tiny-text"]
        assert main(command) == 1
        assert "the call has no token" in capsys.readouterr().err
        named = Tls(authority.file, mine, my_key, server_name="localhost")
        with Client(f"ipv4:127.0.0.1:{port}", tls=named, token=TOKEN) as client:
            assert len(client.models()) == 2


def test_commands_and_bench_reach_a_unix_socket_with_a_token(
    models_dir: Path, tmp_path: Path, token: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"unix:{tmp_path}/vecserve.sock"
    with serving(models_dir, "--address", address, "--tokens-file", str(token)):
        common = ["--address", address, "--token-file", str(token)]
        assert main(["embed", "text", "the cat", "--json", *common]) == 0
        capsys.readouterr()
        assert main(["bench", "--json", "-", "--duration", "0.2", "--warmup", "0.1", *common]) == 0
        record = capsys.readouterr().out
        assert json.loads(record)["measurements"][0]["statuses"].keys() == {"OK"}
        assert TOKEN not in record


def test_messages_beyond_the_limit_are_told_with_the_setting(models_dir: Path) -> None:
    allowed = "--max-message-bytes of the server allows 2000: lower batch_size"
    with (
        serving(models_dir, "--max-message-bytes", "2000") as running,
        Client(running.address, batch_size=200) as client,
    ):
        with pytest.raises(VecserveError, match=rf"the request has 3\d{{3}} bytes, and {allowed}"):
            client.embed_text(["cat " * 800])
        with pytest.raises(VecserveError, match=rf"the answer has \d+ bytes, and {allowed}"):
            client.embed_text(["cat"] * 200)


def test_a_stream_waits_where_a_call_would_be_refused(models_dir: Path) -> None:
    """Each of its requests is more than half of what the server may hold."""
    requests = [
        pb.StreamEmbedRequest(id=str(number), text=pb.EmbedTextRequest(texts=["cat " * 150])) for number in range(50)
    ]
    with serving(models_dir, "--max-inflight-bytes", "1000") as running, running.channel() as channel:
        answers = list(EmbeddingServiceStub(channel).StreamEmbed(iter(requests)))
    assert [answer.WhichOneof("result") for answer in answers] == ["text"] * 50
