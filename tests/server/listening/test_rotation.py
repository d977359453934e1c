"""Certificates, tokens and connections that are replaced under load: no call of ours fails."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from authority import Authority
from running_server import RunningServer, serving

from vecserve import Client, RetryPolicy, Tls, UnauthenticatedError, UnavailableError
from vecserve_server.listening.watched import CHECK_SECONDS

FIRST, SECOND = "the-first-token-of-them", "the-second-token-of-them"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@contextlib.contextmanager
def load(*clients: Callable[[], Client], threads: int = 4) -> Generator[list[float]]:
    """Calls without a pause, by turns over the kinds of clients, until the block ends; yields the times of answers.

    The first kind keeps its connections; the others connect anew for each call, and so see each certificate.
    """
    answered: list[float] = []
    failures: list[Exception] = []
    stopping = threading.Event()

    def keep_calling(make: Callable[[], Client], *, anew: bool) -> None:
        client = make()
        while not stopping.is_set():
            try:
                if anew:
                    client.close()
                    client = make()
                client.embed_text(["the cat sat on the mat"])
                answered.append(time.monotonic())
            except Exception as error:
                failures.append(error)
        client.close()

    callers = [
        threading.Thread(target=keep_calling, args=(make,), kwargs={"anew": number > 0})
        for number, make in enumerate(clients)
        for _ in range(threads)
    ]
    for caller in callers:
        caller.start()
    try:
        yield answered
    finally:
        stopping.set()
        for caller in callers:
            caller.join()
    assert failures == []


def wait_for(running: RunningServer, line: str, count: int = 1) -> None:
    patience = time.monotonic() + 20 * CHECK_SECONDS
    while sum(line in each for each in running.log) < count:
        assert time.monotonic() < patience, "".join(running.log)
        time.sleep(0.05)


def test_certificates_are_replaced_under_load_without_a_failed_call(models_dir: Path, authority: Authority) -> None:
    certificate, key = authority.issue()
    mine = authority.issue("client")
    flags = ["--tls-cert", str(certificate), "--tls-key", str(key), "--tls-client-ca", str(authority.file)]
    with serving(models_dir, *flags) as running:

        def client() -> Client:
            return Client(running.address, tls=Tls(authority.file, *mine), retry=RetryPolicy(max_attempts=1))

        with load(client, client, threads=2) as answered:
            for number in range(3):
                authority.issue()
                wait_for(running, "certificates read anew", number + 1)
                before = len(answered)
                time.sleep(0.5)
                assert len(answered) > before


def test_tokens_are_replaced_under_load_without_a_failed_call(models_dir: Path, tmp_path: Path) -> None:
    """As it is documented: the new token is added, clients take it, the old one is removed."""
    tokens, present = tmp_path / "tokens", [FIRST]
    tokens.write_text(f"{FIRST}\n")
    with serving(models_dir, "--tokens-file", str(tokens)) as running:

        def client() -> Client:
            return Client(running.address, token=lambda: present[0], retry=RetryPolicy(max_attempts=1))

        with load(client) as answered:
            tokens.write_text(f"{FIRST}\n{SECOND}\n")
            wait_for(running, "tokens read anew: 2")
            present[0] = SECOND
            time.sleep(0.5)  # calls that had asked for the old one end
            tokens.write_text(f"{SECOND}\n")
            wait_for(running, "tokens read anew: 1")
            time.sleep(0.5)
        assert len(answered) > 100
        with Client(running.address, token=FIRST) as old, pytest.raises(UnauthenticatedError, match="none of those"):
            old.embed_text(["the cat"])
        assert not any(FIRST in line or SECOND in line for line in running.log)


def test_connections_of_an_age_are_renewed_under_load_without_a_failed_call(models_dir: Path) -> None:
    with serving(models_dir, "--max-connection-age-seconds", "0.5") as running:

        def client() -> Client:
            return Client(running.address, retry=RetryPolicy(max_attempts=1))

        with load(client) as answered:
            time.sleep(4)
        assert len(answered) > 100


@pytest.mark.skipif(sys.platform != "linux", reason="workers are refused elsewhere")
def test_every_worker_follows_the_files(models_dir: Path, authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.issue()
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{FIRST}\n")
    flags = ["--workers", "2", "--tls-cert", str(certificate), "--tls-key", str(key), "--tokens-file", str(tokens)]
    with serving(models_dir, *flags) as running:
        authority.issue()
        tokens.write_text(f"{SECOND}\n")
        wait_for(running, "certificates read anew", 2)
        wait_for(running, "tokens read anew", 2)
        for _ in range(8):
            with Client(running.address, tls=Tls(authority.file), token=SECOND) as client:
                client.embed_text(["the cat"])
        with Client(running.address, retry=RetryPolicy(max_attempts=1)) as plain, pytest.raises(UnavailableError):
            plain.embed_text(["the cat"])


def test_a_unix_socket_is_announced_and_called(models_dir: Path, tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/vecserve.sock"
    with serving(models_dir, "--address", address) as running:
        assert running.address == address
        with Client(address, token=FIRST) as client:
            assert client.embed_text(["the cat"]).vectors.shape == (1, 8)
        os.kill(running.process.pid, 9)
        running.process.wait()
    assert (tmp_path / "vecserve.sock").is_socket()
    with serving(models_dir, "--address", f"unix://{tmp_path}/vecserve.sock") as running, Client(address) as client:
        client.embed_text(["the cat"])
