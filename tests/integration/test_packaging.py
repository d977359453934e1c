"""The wheel in environments of its own: what each extra promises to need, and not to need."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from PIL import Image
from running_server import RunningServer, serving

ROOT = Path(__file__).parents[2]

# The oldest that the stubs accept; see the dependencies in pyproject.toml.
FLOORS = ["grpcio==1.76.0", "protobuf==6.31.1"]

CLIENT = """
import sys
from vecserve import Client

with Client(sys.argv[1]) as client:
    print(client.embed_text(["from a wheel"]).vectors.shape, [model.name for model in client.models()])
assert not {"onnxruntime", "torch", "tokenizers", "PIL", "rich", "pydantic"} & set(sys.modules), sys.modules
"""


class Environment:
    """A virtual environment with nothing but what is installed into it."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=True)
        self.python = folder / "bin" / "python"

    def install(self, *requirements: str) -> None:
        self.run("-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements)

    def run(self, *arguments: str) -> str:
        done = subprocess.run([self.python, *arguments], capture_output=True, text=True, check=False, env=_bare())
        assert done.returncode == 0, done.stderr
        return done.stdout

    def has(self, module: str) -> bool:
        find = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
        return subprocess.run([self.python, "-c", find], check=False, env=_bare()).returncode == 0


def _bare() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip_wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(pip_wheel, check=True)
    (built,) = folder.glob("vecserve-*.whl")
    return built


def test_the_client_works_with_base_dependencies_at_their_floors(
    wheel: Path, server: RunningServer, tmp_path: Path
) -> None:
    environment = Environment(tmp_path)
    environment.install(str(wheel), *FLOORS)
    assert not any(environment.has(module) for module in ("onnxruntime", "torch", "PIL", "pydantic"))
    assert environment.run("-c", CLIENT, server.address) == "(1, 384) ['all-minilm-l6-v2', 'resnet50']\n"


def test_the_server_runs_without_torch(wheel: Path, example_models: Path, tmp_path: Path) -> None:
    environment = Environment(tmp_path)
    environment.install(f"{wheel}[server,cpu]")
    assert not any(environment.has(module) for module in ("torch", "torchvision", "transformers", "onnx"))
    with serving(example_models, python=environment.python) as running:
        assert environment.run("-c", CLIENT, running.address).startswith("(1, 384)")
        image = tmp_path / "teal.png"
        Image.new("RGB", (300, 200), "teal").save(image)
        embedded = environment.run(
            "-m", "vecserve", "embed", "image", "--json", str(image), "--address", running.address
        )
        assert '"dimensionality": 2048' in embedded


def test_the_load_harness_runs_with_its_extra_alone(wheel: Path, server: RunningServer, tmp_path: Path) -> None:
    environment = Environment(tmp_path)
    environment.install(f"{wheel}[loadtest]")
    assert not any(environment.has(module) for module in ("onnxruntime", "torch", "tokenizers", "uvloop"))
    page = tmp_path / "report.html"
    load = ("--address", server.address, "--calls", "20", "--warmup", "0", "--html", str(page))
    assert "OK 20" in environment.run("-m", "vecserve", "bench", *load)
    assert "<style>:root" in page.read_text()
