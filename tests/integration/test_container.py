"""The steps of the container, without a container: no image can be built where the tests run."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from running_server import RunningServer

CONTAINER = Path(__file__).parents[2] / "container"
ROOT = CONTAINER.parent


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, env={**os.environ, **environment}
    )


def path_with(folder: Path) -> str:
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that install.sh made."""
    folder = tmp_path_factory.mktemp("container") / "vecserve"
    done = run(["sh", str(CONTAINER / "install.sh"), str(wheel), "cpu", str(folder)], PYTHONPATH="")
    assert done.returncode == 0, done.stderr
    return folder / "bin"


@pytest.mark.environments
def test_what_is_installed_serves_is_healthy_and_ends_with_sigterm(installed: Path, example_models: Path) -> None:
    environment = {"PATH": path_with(installed), "PYTHONPATH": "", "VECSERVE_MODELS": str(example_models)}
    command = ["sh", str(CONTAINER / "serve.sh"), "--address", "127.0.0.1:0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}) as process:
        assert process.stderr is not None
        ready = next(line for line in process.stderr if "ready on" in line)
        address = ready.split("ready on ")[1].split()[0]

        healthy = run(["sh", str(CONTAINER / "healthy.sh")], **environment, VECSERVE_ADDRESS=address)
        process.send_signal(signal.SIGTERM)

        assert (healthy.returncode, healthy.stdout) == (0, "serving\n"), healthy.stderr
        assert process.wait(timeout=60) == 0
    unhealthy = run(["sh", str(CONTAINER / "healthy.sh")], **environment, VECSERVE_ADDRESS=address)
    assert unhealthy.returncode == 1
    assert "no vecserve server answers" in unhealthy.stderr


@pytest.mark.environments
def test_what_is_installed_has_no_pip_and_no_torch(installed: Path) -> None:
    found = run([str(installed / "python"), "-c", "import pip"], PYTHONPATH="")
    assert "No module named 'pip'" in found.stderr
    assert "No module named 'torch'" in run([str(installed / "python"), "-c", "import torch"], PYTHONPATH="").stderr


def test_a_runtime_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    done = run(["sh", str(CONTAINER / "install.sh"), "a.whl", "tpu", str(tmp_path / "none")])
    assert done.returncode == 2
    assert "RUNTIME is 'tpu'" in done.stderr


def test_the_dockerfile_and_its_scripts_have_no_lint() -> None:
    programs = Path(sys.executable).parent
    linted = run([str(programs / "hadolint"), str(ROOT / "Dockerfile")])
    assert (linted.returncode, linted.stdout) == (0, "")
    checked = run([str(programs / "shellcheck"), *map(str, sorted(CONTAINER.glob("*.sh")))])
    assert (checked.returncode, checked.stdout) == (0, "")


def test_all_that_the_dockerfile_copies_is_there_and_not_ignored() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    sources = [
        word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]
    ]
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert all((ROOT / source).exists() for source in sources)
    assert {source.split("/")[0] for source in sources} <= kept


def test_health_of_a_service_is_asked_by_name(server: RunningServer) -> None:
    command = [sys.executable, "-m", "vecserve", "health", "--address", server.address, "--service"]
    assert run([*command, "vecserve.v1.EmbeddingService"]).stdout == "serving\n"
    unknown = run([*command, "vecserve.v1.AudioService"])
    assert unknown.returncode == 1
    assert "is none of" in unknown.stderr
