"""Several processes on one port: `vecserve serve --workers 2`."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from running_server import RunningServer, serving

from vecserve import Client
from vecserve.v1 import embedding_service_pb2 as pb
from vecserve.v1.embedding_service_pb2_grpc import EmbeddingServiceStub

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are refused elsewhere")

_SERVES = re.compile(r"\[(\d+)\] vecserve_server\.workers\.worker: serving all-minilm-l6-v2@")
_ESTABLISHED = "01"

# All of them reaching the same one of two workers has a chance of 1 in 8 million.
CHANNELS = 24

SECONDS_OF_WORK = pb.EmbedTextRequest(texts=[f"{index} " * 255 for index in range(10, 50)])


@pytest.fixture(scope="module")
def text_models(example_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The text model alone, which starts in half of the time."""
    root = tmp_path_factory.mktemp("text")
    (root / "all-minilm-l6-v2").symlink_to(example_models / "all-minilm-l6-v2")
    return root


@pytest.fixture(scope="module")
def two_workers(text_models: Path) -> Generator[RunningServer]:
    """Two workers with a setting from a flag, and one from the environment."""
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("VECSERVE_MAX_TEXT_CHARACTERS", "100")
            running = stack.enter_context(serving(text_models, "--workers", "2", "--max-batch-items", "3"))
        yield running
        assert running.stop() == 0
        assert alive(running) == []


def test_one_ready_line_comes_after_all_workers_serve(two_workers: RunningServer) -> None:
    ready = [number for number, line in enumerate(two_workers.log) if "ready on" in line]
    serve = [number for number, line in enumerate(two_workers.log) if _SERVES.search(line)]
    assert len(ready) == 1
    assert len(serve) == 2
    assert max(serve) < ready[0]
    line = two_workers.log[ready[0]]
    parent = two_workers.process.pid
    assert f"[{parent}]" in line
    assert f"ready on {two_workers.address} with all-minilm-l6-v2@1, pid {parent}, 2 workers\n" in line


def test_every_worker_gets_connections_and_answers_with_the_same_settings(two_workers: RunningServer) -> None:
    with ExitStack() as stack:
        stubs = [
            EmbeddingServiceStub(stack.enter_context(own_connection(two_workers.address))) for _ in range(CHANNELS)
        ]
        answers = [stub.EmbedText(pb.EmbedTextRequest(texts=["a cat"])) for stub in stubs]
        assert len({answer.embeddings[0].values for answer in answers}) == 1
        held = [connections(pid, two_workers.address) for pid in alive(two_workers)]
        assert sum(held) == CHANNELS
        assert all(held), held
        for request in (pb.EmbedTextRequest(texts=["a"] * 4), pb.EmbedTextRequest(texts=["a" * 101])):
            assert [refusal(stub, request) for stub in stubs] == [grpc.StatusCode.INVALID_ARGUMENT] * CHANNELS


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_second_server_on_the_port_is_refused(two_workers: RunningServer, text_models: Path, workers: str) -> None:
    status, log = start("--models", str(text_models), "--address", two_workers.address, "--workers", workers)
    assert status == 1
    assert f"vecserve serve: error: can't listen on {two_workers.address}: Address already in use\n" in log


def test_a_worker_that_is_killed_is_replaced_while_calls_go_on(two_workers: RunningServer) -> None:
    with Client(two_workers.address) as client:
        client.embed_text(["a cat"])
        connected = [pid for pid in alive(two_workers) if connections(pid, two_workers.address)]
        assert len(connected) == 1
        stopping = threading.Event()
        failures: list[Exception] = []
        calls = [threading.Thread(target=call_until, args=(client, stopping, failures)) for _ in range(2)]
        for thread in calls:
            thread.start()
        os.kill(connected[0], signal.SIGKILL)
        wait_until(lambda: any("took its place" in line for line in two_workers.log))
        stopping.set()
        for thread in calls:
            thread.join()
    assert failures == []
    assert any(f"ERROR   [{two_workers.process.pid}]" in line for line in two_workers.log)
    assert any(f"worker {connected[0]} was killed by SIGKILL" in line for line in two_workers.log)
    assert connected[0] not in alive(two_workers)
    assert len(alive(two_workers)) == 2


def test_ctrl_c_which_reaches_every_process_finishes_what_was_accepted(text_models: Path) -> None:
    with serving(text_models, "--workers", "2") as running, own_connection(running.address) as channel:
        accepted = accept(EmbeddingServiceStub(channel))
        for pid in [*alive(running), running.process.pid]:
            os.kill(pid, signal.SIGINT)
        assert len(accepted.result(timeout=60).embeddings) == len(SECONDS_OF_WORK.texts)
        assert running.process.wait(timeout=60) == 0
        assert alive(running) == []


def test_a_second_sigterm_ends_the_grace_period(text_models: Path) -> None:
    flags = ["--workers", "2", "--grace-seconds", "300"]
    with serving(text_models, *flags) as running, own_connection(running.address) as channel:
        accepted = accept(EmbeddingServiceStub(channel))
        running.process.send_signal(signal.SIGTERM)
        wait_until(lambda: sum("finishing accepted calls" in line for line in running.log) == 2)
        assert running.stop() == 0
        assert accepted.exception() is not None


def test_workers_end_with_a_supervisor_that_is_killed(text_models: Path) -> None:
    with serving(text_models, "--workers", "2", "--grace-seconds", "300") as running:
        assert len(alive(running)) == 2
        running.process.kill()
        wait_until(lambda: alive(running) == [])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "model directory '{models}' holds no <name>/<version>/"),
        (["--provider", "cuda"], "CUDAExecutionProvider is not in the installed onnxruntime"),
    ],
)
def test_workers_that_cannot_start_end_the_start_once(tmp_path: Path, flags: list[str], message: str) -> None:
    status, log = start("--models", str(tmp_path), "--address", "127.0.0.1:0", "--workers", "2", *flags)
    assert status == 1
    assert log.count("vecserve serve: error: " + message.format(models=tmp_path)) == 1
    assert "Traceback" not in log
    assert "ready on" not in log


def start(*flags: str) -> tuple[int, str]:
    """Exit status and log of a server that is expected to end by itself, with all its processes."""
    command = [sys.executable, "-m", "vecserve", "serve", *flags]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            _, log = process.communicate(timeout=60)
        finally:
            process.kill()
    assert session(process.pid) == []
    return process.returncode, log


def own_connection(address: str) -> grpc.Channel:
    """A channel that shares its connection with no other, as those to the same address do by default."""
    return grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])


def accept(stub: EmbeddingServiceStub) -> Any:
    """A long call that a worker has begun: it begins those of a connection in order."""
    accepted = stub.EmbedText.future(SECONDS_OF_WORK)
    for _ in range(3):
        assert refusal(stub, pb.EmbedTextRequest()) is grpc.StatusCode.INVALID_ARGUMENT
    return accepted


def refusal(stub: EmbeddingServiceStub, request: pb.EmbedTextRequest) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as refused:
        stub.EmbedText(request)
    return refused.value.code()


def call_until(client: Client, stopping: threading.Event, failures: list[Exception]) -> None:
    while not stopping.wait(0.05):
        try:
            client.embed_text(["a cat"])
        except Exception as error:
            failures.append(error)


def wait_until(happened: Callable[[], bool]) -> None:
    patience = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < patience
        time.sleep(0.05)


def alive(running: RunningServer) -> list[int]:
    """Workers that have come to serve, and run."""
    served = [int(found.group(1)) for line in running.log if (found := _SERVES.search(line))]
    return [pid for pid in served if pid in processes()]


def session(leader: int) -> list[int]:
    """Processes that were started in a session, and run."""
    return [pid for pid, session in processes().items() if session == leader]


def processes() -> dict[int, int]:
    """Running processes, and the session of each."""
    found: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, session, *_ = stat.read_text().rpartition(")")[2].split()
            if state != "Z":
                found[int(stat.parent.name)] = int(session)
    return found


def connections(pid: int, address: str) -> int:
    """How many connections to an address a process holds at the server's end."""
    port = f":{int(address.rpartition(':')[2]):04X}"
    sockets = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    rows = [row.split() for file in ("tcp", "tcp6") for row in Path(f"/proc/net/{file}").read_text().splitlines()[1:]]
    return sum(row[1].endswith(port) and row[3] == _ESTABLISHED and f"socket:[{row[9]}]" in sockets for row in rows)
