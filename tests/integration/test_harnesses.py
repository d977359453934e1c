"""The recipes of docs/load-testing.md, run as they stand there, where the harness is installed.

`make test-harnesses` installs those that are missing, and sets VECSERVE_HARNESSES to the folder where they are. Then a
harness that can't be found fails its tests, in place of skipping them.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest
from PIL import Image
from running_server import RunningServer

from vecserve.oip import grpc_inference_service_pb2 as pb
from vecserve.oip.grpc_inference_service_pb2_grpc import GRPCInferenceServiceStub

ROOT = Path(__file__).parents[2]
HARNESSES = os.environ.get("VECSERVE_HARNESSES")
PATH = os.pathsep.join(
    [
        *([str(ROOT / HARNESSES)] if HARNESSES else []),
        str(Path(sys.executable).parent),
        os.environ["PATH"],
    ]
)


@dataclass(frozen=True)
class Expected:
    """What a recipe brings about."""

    calls: int
    """At least so many are answered, and none fails."""
    output: str
    """A pattern of what the harness prints."""
    times: int = 1
    """How often it does."""


BREAKDOWN = r"Avg request latency: \d+ usec \(overhead .* queue .* compute input .* compute infer .* compute output"
EXPECTED = {
    "grpcurl": Expected(
        1, r"service GRPCInferenceService \{|// 1 to Model\.max_batch_count texts|\"dimensionality\": 384", times=3
    ),
    "ghz": Expected(200, r"\[OK\]\s+200 responses"),
    "ghz: At a rate": Expected(60, r"\[OK\]\s+60 responses"),
    "ghz: Images": Expected(20, r"\[OK\]\s+10 responses", times=2),
    "ghz: Over the Open Inference Protocol": Expected(200, r"\[OK\]\s+200 responses"),
    "k6": Expected(100, r"checks_failed\.+: 0\.00%"),
    "k6: Over the Open Inference Protocol": Expected(50, r"checks_failed\.+: 0\.00%"),
    "perf_analyzer": Expected(100, BREAKDOWN, times=4),
    "perf_analyzer: At a rate": Expected(100, BREAKDOWN, times=3),
    "perf_analyzer: Images": Expected(10, BREAKDOWN),
    "h2load": Expected(400, "400 succeeded, 0 failed, 0 errored, 0 timeout"),
    "h2load: Over the Open Inference Protocol": Expected(400, "400 succeeded, 0 failed, 0 errored, 0 timeout"),
}


def recipes() -> dict[str, str]:
    """The commands of each section, by tool and section."""
    found: dict[str, str] = {}
    tool = name = ""
    for heading, body in re.findall(
        r"^(##+ .*)\n((?:(?!##+ ).*\n)*)", (ROOT / "docs/load-testing.md").read_text(), re.M
    ):
        level, title = heading.split(" ", 1)
        tool, name = (title, title) if level == "##" else (tool, f"{tool}: {title}")
        if commands := "".join(_commands(body)):
            found[name] = commands
    return found


def _commands(text: str) -> Iterator[str]:
    for block in re.findall(r"^```console\n(.*?)^```", text, re.M | re.S):
        yield re.sub(r"^\$ ", "", block, flags=re.M)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Looks like the top of a clone with a photograph in it."""
    for name in ("clients", "protos"):
        (tmp_path / name).symlink_to(ROOT / name)
    pixels = np.random.default_rng(3).integers(0, 256, (30, 40, 3), np.uint8)
    Image.fromarray(pixels).resize((640, 480)).save(tmp_path / "cat.jpg")
    return tmp_path


def outcomes(channel: grpc.Channel) -> tuple[int, int]:
    """Calls that were answered, and calls that failed, since the server started."""
    answer = GRPCInferenceServiceStub(channel).ModelStatistics(pb.ModelStatisticsRequest())
    stats = [model.inference_stats for model in answer.model_stats]
    return sum(each.success.count for each in stats), sum(each.fail.count for each in stats)


def run(commands: str, address: str, folder: Path) -> str:
    commands = commands.replace("127.0.0.1:50051", address)
    # Tests share their machine: measurements don't repeat themselves there, and what they find doesn't matter.
    commands = commands.replace("--stability-percentage 50", "--stability-percentage 999")
    environment = {**os.environ, "PATH": PATH, "VECSERVE_ADDRESS": address, "K6_NO_USAGE_REPORT": "true"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder,
        env={name: value for name, value in environment.items() if not name.lower().endswith("_proxy")},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_every_recipe_is_tested() -> None:
    assert set(recipes()) == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_recipe_works(name: str, server: RunningServer, channel: grpc.Channel, folder: Path) -> None:
    tool = name.partition(":")[0]
    if not HARNESSES and not shutil.which(tool, path=PATH):
        pytest.skip(f"{tool} is not installed: 'make test-harnesses' installs it")
    expected = EXPECTED[name]
    answered, failed = outcomes(channel)

    output = run(recipes()[name], server.address, folder)

    assert len(re.findall(expected.output, output)) == expected.times, output
    now_answered, now_failed = outcomes(channel)
    assert now_answered - answered >= expected.calls
    assert now_failed == failed
