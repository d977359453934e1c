"""The whole command, on a server of a few lines."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from inference_server import InferenceServer, inferring
from scripted_server import Failure, Server, running

from vecserve import cli
from vecserve.v1 import embedding_service_pb2 as pb
from vecserve.v1 import model_service_pb2 as model_pb
from vecserve_bench import warning

Bench = Callable[..., int]

SHORT = ("--duration", "0.4", "--warmup", "0.1")


@pytest.fixture
def server() -> Iterator[Server]:
    model = model_pb.Model(name="encoder", version="2", modality=model_pb.MODALITY_TEXT, dimensionality=8, default=True)
    with running(Server(models=[model])) as server:
        yield server


@pytest.fixture
def bench(server: Server) -> Bench:
    return lambda *arguments: cli.main(["bench", "--address", server.address, *SHORT, *map(str, arguments)])


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_bytes())


def test_a_closed_loop_is_measured_and_told(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("--concurrency", 2, "--text", "hello") == 0

    shown = capsys.readouterr().out
    assert "encoder version 2" in shown
    assert "one text of 5 characters; 1 a call; 0.4 s after 0.1 s of warm-up" in shown
    assert "2 in flight" in shown
    assert "calls/s OK" in shown
    assert "preprocess 0.5  queue 1.5  infer 2" in shown
    assert "µs of CPU time a call" in shown


def test_an_open_loop_is_recorded_and_reported(bench: Bench, server: Server, tmp_path: Path) -> None:
    run, page = tmp_path / "run.json", tmp_path / "report.html"
    bulk = ("--priority", "bulk", "-H", "authorization: s3cret", "--title", "a title")

    status = bench("--rate", 100, "--arrivals", "constant", "--batch", 3, *bulk, "--json", run, "--html", page)

    assert status == 0
    found = read(run)
    (measurement,) = found["measurements"]
    assert (measurement["loop"], measurement["rate_per_s"], measurement["calls"]) == ("open", 100, 40)
    assert measurement["statuses"] == {"OK": 40}
    assert measurement["server"]["stages_ms"] == {"preprocess": 0.5, "queue": 1.5, "infer": 2.0}
    assert found["title"] == "a title"
    assert found["inputs_per_call"] == 3
    assert "s3cret" not in run.read_text() + page.read_text()
    assert server.calls[-1].metadata["x-vecserve-priority"] == "bulk"
    assert server.calls[-1].metadata["authorization"] == "s3cret"
    assert len(server.calls[-1].request.texts) == 3
    assert "<svg" in page.read_text()


def test_a_sweep_has_a_line_for_each_load(bench: Bench, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert bench("--rates", "50,100", "--json", tmp_path / "run.json") == 0

    assert [each["rate_per_s"] for each in read(tmp_path / "run.json")["measurements"]] == [50, 100]
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith(("50 calls/s ", "100 calls/s ")) for line in lines) == 2


def test_two_processes_share_a_load(bench: Bench, tmp_path: Path) -> None:
    assert bench("--rate", 100, "--arrivals", "constant", "--processes", 2, "--json", tmp_path / "run.json") == 0

    (measurement,) = read(tmp_path / "run.json")["measurements"]
    assert measurement["calls"] == 40
    assert measurement["connections"]["opened"] == 2
    assert len(measurement["harness"]) == 2


def test_a_number_of_calls_ends_the_measurement(bench: Bench, tmp_path: Path) -> None:
    assert bench("--calls", 30, "--duration", 60, "--json", tmp_path / "run.json") == 0

    (measurement,) = read(tmp_path / "run.json")["measurements"]
    assert measurement["calls"] == 30
    assert measurement["duration_s"] < 10


def test_a_search_ends_with_the_highest_rate_that_holds(
    bench: Bench,
    server: Server,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server that takes 20 ms for each call, one at a time, can do 50 a second."""
    monkeypatch.setattr(warning, "LATE_SHARE", 1.0)  # a busy machine would hold at no rate
    turn = threading.Lock()
    server.script = lambda request, context: _after(0.02, turn) if isinstance(request, pb.EmbedTextRequest) else None

    status = bench("--find-max-rate", "--slo", "p50=60ms", "--precision", 25, "--json", tmp_path / "run.json")

    found = read(tmp_path / "run.json")
    assert status == 0
    assert 1 < found["search"]["max_rate_per_s"] < 50
    assert [step["purpose"] for step in found["search"]["steps"][:2]] == ["capacity", "bracket"]
    assert len(found["measurements"]) == len(found["search"]["steps"])
    assert "Highest rate with p50 ≤ 60 ms, errors ≤ 0.1 %: " in capsys.readouterr().out


def _after(seconds: float, turn: threading.Lock) -> None:
    with turn:
        threading.Event().wait(seconds)


def test_a_missed_objective_is_an_exit_status(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("--concurrency", 1, "--slo", "p50=1us") == 1
    assert "the objective is missed: at 1 in flight p50 was" in capsys.readouterr().err
    assert bench("--concurrency", 1, "--slo", "p50=10s") == 0


def test_failures_are_told_with_the_servers_words(
    bench: Bench, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = iter(range(10**9))

    def script(request: object, context: object) -> Failure | None:
        refused = isinstance(request, pb.EmbedTextRequest) and next(calls) % 2
        return Failure(grpc.StatusCode.UNAVAILABLE, message="the queue is full") if refused else None

    server.script = script

    assert bench("--concurrency", 1) == 0
    shown = capsys.readouterr().out
    assert "UNAVAILABLE: the queue is full" in shown
    assert "did not keep up" not in shown  # which a closed loop can't tell


def test_vectors_are_checked_where_that_is_asked_for(
    bench: Bench, server: Server, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert bench("--calls", 20, "--check-vectors", "--json", tmp_path / "run.json") == 0
    assert read(tmp_path / "run.json")["measurements"][0]["vectors"] == {"responses": 20, "bad": 0, "example": ""}

    noise = np.random.default_rng(0)

    def distort(response: pb.EmbedTextResponse) -> None:
        for embedding in response.embeddings:
            embedding.values = noise.normal(size=8).astype("<f4").tobytes()

    server.distort = distort
    assert bench("--calls", 20, "--check-vectors") == 1
    assert "responses were not sound: a vector whose cosine" in capsys.readouterr().out


def test_a_recorded_run_is_shown_again_and_compared(
    bench: Bench, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run, page = tmp_path / "run.json", tmp_path / "report.html"
    assert bench("--json", run) == 0
    measured = capsys.readouterr().out

    assert cli.main(["bench", "--from", str(run), "--compare", str(run), "--html", str(page)]) == 0

    shown = capsys.readouterr().out
    assert shown.startswith(measured)
    assert "p99, ms" in shown[len(measured) :]
    assert "Settings, server and machine are the same." in page.read_text()


def test_json_on_stdout_is_alone_there(bench: Bench, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert bench("--json", "-") == 0

    assert json.loads(capsysbinary.readouterr().out)["schema"] == "vecserve-bench/1"


def test_an_inference_server_is_measured_as_well(tmp_path: Path) -> None:
    inputs = [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    with inferring(InferenceServer(inputs)) as server:
        address = ("--address", server.address, "--api", "oip", "--model", "encoder")
        arguments = ("--calls", "20", "--check-vectors", "--json", str(tmp_path / "run.json"))
        assert cli.main(["bench", *address, *SHORT, *arguments]) == 0

    found = read(tmp_path / "run.json")
    assert found["measurements"][0]["statuses"] == {"OK": 20}
    assert found["measurements"][0]["vectors"]["bad"] == 0
    assert (found["server"]["api"], found["server"]["platform"]) == ("oip", "test")


def test_what_can_not_be_measured_is_an_error_in_words(
    bench: Bench, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def fails(*arguments: str) -> str:
        assert cli.main(["bench", *arguments]) == 1
        return capsys.readouterr().err

    assert "no gRPC server without TLS answers at 127.0.0.1:1" in fails("--address", "127.0.0.1:1")
    assert "address must be HOST:PORT" in fails("--address", "somewhere")
    assert "missing.json: No such file" in fails("--compare", str(tmp_path / "missing.json"))
    (tmp_path / "other.json").write_text("{}")
    assert "other.json is no vecserve-bench/1 file" in fails("--from", str(tmp_path / "other.json"))
    assert "missing.txt: No such file" in _error(bench, capsys, "--texts", tmp_path / "missing.txt")
    assert "nowhere is no folder" in _error(bench, capsys, "--html", tmp_path / "nowhere" / "page.html")


def _error(bench: Bench, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert bench(*arguments) == 1
    return capsys.readouterr().err


@pytest.fixture
def heeded_interrupts() -> Generator[None]:
    """A shell has its background jobs ignore SIGINT, and their children with them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded_interrupts")
def test_an_interrupt_reports_what_was_measured(server: Server, tmp_path: Path) -> None:
    run = tmp_path / "run.json"
    command = [sys.executable, "-m", "vecserve", "bench", "--address", server.address, "--json", str(run)]
    load = ("--rates", "50,60,70,80,90,100,110,120", "--warmup", "0", "--duration", "0.5")
    process = subprocess.Popen([*command, *load], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as shown:
        next(line for line in shown if line.startswith("50 calls/s"))
        process.send_signal(signal.SIGINT)
        shown.read()

    assert process.wait(30) == 130
    found = read(run)
    assert 1 <= len(found["measurements"]) < 8
    assert found["notes"] == [f"interrupted after {len(found['measurements'])} measurements"]
