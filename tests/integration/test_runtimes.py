"""Builds of ONNX Runtime with other providers, each in an environment of its own: that they run, or why they don't."""

import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from environment import Environment
from numpy.typing import NDArray
from PIL import Image
from running_server import RunningServer, serving

from vecserve import Client
from vecserve_server.models.providers.libraries import unloadable
from vecserve_server.models.providers.openvino import OpenVino

TEXTS = ["a cat on a mat", "fog", "The quick brown fox jumps over the lazy dog. " * 12, "Ein Hund im Nebel"]

# What this machine's CPU has OpenVINO compute in by default, and how near it comes to the CPU provider.
COMPUTED_IN = OpenVino().computed_in("fp32")
COSINE = {"fp32": 0.999999, "bf16": 0.999}[COMPUTED_IN]

Refusal = Callable[..., str]

pytestmark = pytest.mark.environments


@pytest.fixture(scope="module")
def openvino(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    environment = Environment(tmp_path_factory.mktemp("openvino"))
    environment.install(f"{wheel}[server,openvino]")
    return environment


@pytest.fixture(scope="module")
def gpu(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """ONNX Runtime for CUDA and TensorRT without their libraries, 2 GB that change nothing without a driver."""
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has a GPU, and may have what other machines miss")
    environment = Environment(tmp_path_factory.mktemp("gpu"))
    environment.install(f"{wheel}[server]", "onnxruntime-gpu")
    return environment


@pytest.fixture(scope="module")
def metrics_address() -> str:
    """HOST:PORT that is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture(scope="module")
def openvino_server(openvino: Environment, example_models: Path, metrics_address: str) -> Generator[RunningServer]:
    """A server of artifacts that were exported with the CPU's build."""
    flags = "--provider", "openvino", "--metrics-address", metrics_address
    with serving(example_models, *flags, python=openvino.python) as running:
        yield running
        assert running.stop() == 0


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    generator = np.random.default_rng(0)
    files = [tmp_path / f"{edge}.png" for edge in (300, 400)]
    for file in files:
        Image.fromarray(generator.integers(0, 256, (280, int(file.stem), 3), np.uint8)).save(file)
    return files


@pytest.fixture
def refusal(example_models: Path) -> Refusal:
    """How a start ends that must fail within 5 s; the first may wait for files that no program has read yet."""

    def refusal(environment: Environment, *flags: str) -> str:
        serve = [environment.python, "-m", "vecserve", "serve"]
        command = [*serve, "--models", example_models, "--address", "127.0.0.1:0", *flags]
        for last in (False, True):
            started = time.monotonic()
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            seconds = time.monotonic() - started
            assert done.returncode == 1, done.stderr
            if seconds < 5 or last:
                break
        assert seconds < 5, done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""
        return done.stderr.splitlines()[-1]

    return refusal


def cosines(one: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.floating]:
    return (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


def test_openvino_gives_the_vectors_that_the_cpu_gives(
    openvino_server: RunningServer, server: RunningServer, pictures: list[Path]
) -> None:
    with Client(openvino_server.address) as ours, Client(server.address) as theirs:
        texts, images = ours.embed_text(TEXTS).vectors, ours.embed_images(pictures).vectors

        assert cosines(texts, theirs.embed_text(TEXTS).vectors).min() >= COSINE
        assert cosines(images, theirs.embed_images(pictures).vectors).min() >= COSINE


def test_openvino_gives_the_same_to_calls_at_once_as_to_each_alone(openvino_server: RunningServer) -> None:
    with Client(openvino_server.address) as client, ThreadPoolExecutor(8) as threads:
        alone = [client.embed_text([text]).vectors for text in TEXTS]
        futures = [threads.submit(client.embed_text, [text]) for text in TEXTS * 8]

    for future, expected in zip(futures, alone * 8, strict=True):
        assert cosines(future.result().vectors, expected).min() >= COSINE


def test_clients_and_metrics_are_told_what_runs_the_models(
    openvino_server: RunningServer, metrics_address: str
) -> None:
    with Client(openvino_server.address) as client:
        assert {model.execution_provider for model in client.models()} == {"OpenVINOExecutionProvider"}
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"http://{metrics_address}/metrics") as answer:
        told = answer.read().decode()
    assert (
        f'vecserve_model_info{{computed_in="{COMPUTED_IN}",modality="image",model="resnet50",precision="fp32",'
        'provider="OpenVINOExecutionProvider",version="1"} 1.0'
    ) in told


@pytest.mark.parametrize(("device", "library"), [("GPU", "libOpenCL.so.1"), ("NPU", "libze_loader.so.1")])
def test_a_device_that_openvino_does_not_find_is_refused_with_its_driver(
    openvino: Environment, refusal: Refusal, device: str, library: str
) -> None:
    if not unloadable([library]):
        pytest.skip(f"this machine has {library}, and may have the device")

    message = refusal(openvino, "--provider", "openvino", "--openvino-device", device)

    assert f"OpenVINOExecutionProvider did not load: {library} is missing: it comes with Intel's {device}" in message


def test_an_option_that_openvino_does_not_know_is_refused(openvino: Environment, refusal: Refusal) -> None:
    message = refusal(openvino, "--provider", "openvino", "--provider-options", "speed=high")

    assert "OpenVINOExecutionProvider did not load: ONNX Runtime says: " in message
    assert message.endswith("speed")


@pytest.mark.skipif(COMPUTED_IN == "bf16", reason="this CPU has bf16")
def test_bf16_is_refused_where_the_cpu_has_none(openvino: Environment, refusal: Refusal) -> None:
    message = refusal(openvino, "--provider", "openvino", "--openvino-precision", "bf16")

    assert "openvino_precision is bf16, for which a CPU needs avx512_bf16 or amx_bf16" in message


def test_a_provider_of_another_build_is_refused_with_what_to_install(openvino: Environment, refusal: Refusal) -> None:
    message = refusal(openvino, "--provider", "cuda")

    assert "CUDAExecutionProvider is not in the installed onnxruntime" in message
    assert "Install 'vecserve[server,gpu]' in place of 'vecserve[server,cpu]'" in message


def test_cuda_without_its_libraries_is_refused_with_all_that_are_missing(gpu: Environment, refusal: Refusal) -> None:
    message = refusal(gpu, "--provider", "cuda")

    assert "CUDAExecutionProvider did not load: " in message
    for library in ("libcublas.so.", "libcudart.so.", "libcuda.so.1 are missing"):
        assert library in message


def test_tensorrt_without_its_libraries_is_refused_with_all_that_are_missing(
    gpu: Environment, refusal: Refusal
) -> None:
    message = refusal(gpu, "--provider", "tensorrt")

    assert "TensorrtExecutionProvider did not load: " in message
    for library in ("libnvinfer.so.", "libnvonnxparser.so.", "libcublas.so.", "libcuda.so.1 are missing"):
        assert library in message


def test_a_provider_that_no_build_has_is_refused_by_its_name(gpu: Environment, refusal: Refusal) -> None:
    message = refusal(gpu, "--provider", "ROCMExecutionProvider")

    assert "ROCMExecutionProvider is not in the installed onnxruntime" in message
    assert "TensorrtExecutionProvider, CUDAExecutionProvider, CPUExecutionProvider" in message
