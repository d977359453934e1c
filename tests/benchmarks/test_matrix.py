"""The bench for GPUs, with the CPU in a GPU's place: every table has figures in every cell."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
BRIEF = [
    "--batches",
    "1",
    "2",
    "--lengths",
    "8",
    "--instances",
    "1",
    "2",
    "--workers",
    "1",
    "--seconds",
    "0.05",
    "--probes",
    "8",
]
TITLES = [
    "Loading",
    "Parity",
    "Latency of one input",
    "Throughput of one instance",
    "Instances, batches of 2",
    "IO binding",
    "Memory, after all of this",
    "Calls of one short text to all-minilm-l6-v2",
]


def measure(models: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS / 'integration'}"}
    command = [sys.executable, "-m", "benchmarks.matrix", "--models", str(models), *flags, *BRIEF]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)


@pytest.fixture
def one_model(example_models: Path, tmp_path: Path) -> Path:
    (tmp_path / "all-minilm-l6-v2").symlink_to(example_models / "all-minilm-l6-v2")
    return tmp_path


def test_every_cell_of_the_matrix_is_measured(one_model: Path) -> None:
    done = measure(one_model, "--provider", "cpu")

    assert done.returncode == 0, done.stderr
    assert re.findall(r"^### (.*)", done.stdout, re.MULTILINE) == TITLES
    rows = [line for line in done.stdout.splitlines() if line.startswith("| all-minilm-l6-v2 | ")]
    assert len(rows) == len(["load", "parity", "latency", "throughput", "instances"]) + len(["plain", "bound"]) * 2
    figures = [float(cell) for row in rows[2:5] for cell in row.strip("| ").split(" | ")[1:]]
    assert all(figure > 0 for figure in figures)
    assert "| all-minilm-l6-v2 | 1.0000000 | 1.0000000 | " in done.stdout
    assert re.search(r"^\| 1 \| [1-9][\d.]* \|.*\| 0 \| [\d.]+ \|$", done.stdout, re.MULTILINE), done.stdout


def test_a_provider_that_can_not_load_ends_it_at_once(one_model: Path) -> None:
    done = measure(one_model, "--provider", "cuda")

    assert (done.returncode, done.stdout) == (1, "")
    assert "CUDAExecutionProvider is not in the installed onnxruntime" in done.stderr
