"""The wheel in environments of its own: what each extra promises to need, and not to need."""

import zipfile
from pathlib import Path

import pytest
from environment import Environment
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


def test_the_wheel_carries_the_probes(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = archive.read("vecserve_export/probes.txt")
    assert packed == (ROOT / "export" / "vecserve_export" / "probes.txt").read_bytes()


@pytest.mark.environments
def test_the_client_works_with_base_dependencies_at_their_floors(
    wheel: Path, server: RunningServer, tmp_path: Path
) -> None:
    environment = Environment(tmp_path)
    environment.install(str(wheel), *FLOORS)
    assert not any(environment.has(module) for module in ("onnxruntime", "torch", "PIL", "pydantic"))
    names = ["all-minilm-l6-v2", "resnet50"]
    assert environment.run("-c", CLIENT, server.address) == f"(1, 384) {names}\n"


@pytest.mark.environments
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


@pytest.mark.environments
def test_the_load_harness_runs_with_its_extra_alone(wheel: Path, server: RunningServer, tmp_path: Path) -> None:
    environment = Environment(tmp_path)
    environment.install(f"{wheel}[loadtest]")
    assert not any(environment.has(module) for module in ("onnxruntime", "torch", "tokenizers", "uvloop"))
    page = tmp_path / "report.html"
    load = ("--address", server.address, "--calls", "20", "--warmup", "0", "--html", str(page))
    assert "OK 20" in environment.run("-m", "vecserve", "bench", *load)
    assert "<style>:root" in page.read_text()
