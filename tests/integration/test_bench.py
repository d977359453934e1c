"""`vecserve bench` on a real server: every kind of call, and a stall that a report must not hide."""

import json
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from running_server import RunningServer

from vecserve import cli
from vecserve_bench.bench import Bench
from vecserve_bench.live import Glance
from vecserve_bench.settings import AtRate, Content, Pressure, Service
from vecserve_bench.work import prepare

_STALL = 2.0


def run(server: RunningServer, path: Path, *arguments: str) -> dict[str, Any]:
    fixed = ("--address", server.address, "--warmup", "0", "--check-vectors", "--json", str(path))
    assert cli.main(["bench", *fixed, *arguments]) == 0
    return json.loads(path.read_bytes())


@pytest.mark.parametrize(
    ("arguments", "model", "told"),
    [
        ("--calls 40 --words 16:0.9:2-100 --batch 1-4", "all-minilm-l6-v2", True),
        ("--calls 40 --stream --connections 2", "all-minilm-l6-v2", False),
        ("--calls 8 --model resnet50 --image-size 320x240 --batch 2", "resnet50", True),
        ("--calls 20 --rate 20 --deadline 20 --priority bulk", "all-minilm-l6-v2", True),
    ],
)
def test_calls_of_every_kind_are_answered_with_sound_vectors(
    server: RunningServer, arguments: str, model: str, told: bool, tmp_path: Path
) -> None:
    record = run(server, tmp_path / "run.json", *arguments.split())

    (measurement,) = record["measurements"]
    assert measurement["statuses"] == {"OK": measurement["calls"]}
    assert measurement["vectors"] == {"responses": measurement["calls"], "bad": 0, "example": ""}
    assert record["server"]["model"] == model
    if told:
        assert list(measurement["server"]["stages_ms"]) == ["preprocess", "queue", "infer"]
    else:
        assert measurement["server"] is None  # a stream's trailers come at its end


def test_a_server_that_stalls_for_two_seconds_shows_in_the_percentiles_and_over_time(server: RunningServer) -> None:
    work = prepare(Service(server.address), Content())
    stalled = threading.Event()

    def stall(glance: Glance) -> None:
        if glance.elapsed >= 1 and not stalled.is_set():
            stalled.set()
            server.process.send_signal(signal.SIGSTOP)
            threading.Timer(_STALL, server.process.send_signal, (signal.SIGCONT,)).start()

    measurement = Bench(server.address, work, Pressure(duration=8, warmup=0)).measure(AtRate(40), stall)

    assert stalled.is_set()
    latency = measurement.latency_ms["OK"]
    assert latency.p99_9 >= 1500
    assert latency.p95 >= 1000  # a quarter of the calls were due in the stall; a closed loop would have had one
    assert measurement.sends.unsent == 0  # all were sent all the same
    slowest = [value for value in measurement.timeline.max_ms if value is not None and value >= 1000]
    assert 0.5 <= len(slowest) * measurement.timeline.interval_s <= 2
