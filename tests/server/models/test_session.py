import os
import threading
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from vecserve_server.cores import own_cores
from vecserve_server.models import session
from vecserve_server.models.manifest import GRAPH_FILE
from vecserve_server.models.providers.cuda import Cuda
from vecserve_server.models.providers.provider import Cpu, Provider, ProviderError
from vecserve_server.models.session import Graph, SessionOptions, require_provider
from vecserve_server.threads import COMPUTING

_TASKS = Path("/proc/self/task")


@pytest.fixture
def graph(image_artifact: Path) -> Graph:
    return Graph(image_artifact / GRAPH_FILE, SessionOptions())


def test_a_graph_tells_its_inputs_and_outputs_and_what_it_is(graph: Graph) -> None:
    assert graph.inputs == {"pixels": ["batch", 8, 8, 3]}
    assert graph.outputs == {"embeddings": ["batch", 3]}
    assert graph.metadata == {"vecserve.precision": "fp32", "vecserve.pooling": "pool"}
    assert graph.provider == "CPUExecutionProvider"


def test_a_graph_computes_the_output_that_is_asked_for(graph: Graph) -> None:
    pixels = np.full((2, 8, 8, 3), 7, np.uint8)

    assert graph.run("embeddings", {"pixels": pixels}).tolist() == [[7, 7, 7]] * 2


def test_more_threads_compute_the_same(image_artifact: Path) -> None:
    graph = Graph(image_artifact / GRAPH_FILE, SessionOptions(intra_op_threads=2))

    assert graph.run("embeddings", {"pixels": np.full((1, 8, 8, 3), 7, np.uint8)}).tolist() == [[7, 7, 7]]


def test_a_run_alone_computes_the_same_with_more_threads_that_compute_as_nicely_as_others(image_artifact: Path) -> None:
    before, threads = _threads(), len(own_cores()) + 1

    graph = Graph(image_artifact / GRAPH_FILE, SessionOptions(alone_threads=threads))

    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    started = _threads() - before
    assert [os.getpriority(os.PRIO_PROCESS, thread) - own for thread in started] == [COMPUTING] * (threads - 1)
    assert all(os.sched_getaffinity(thread) == set(own_cores()) for thread in started)
    assert graph.is_faster_alone
    pixels = {"pixels": np.full((1, 8, 8, 3), 7, np.uint8)}
    assert graph.run("embeddings", pixels, alone=True).tolist() == [[7, 7, 7]]


@pytest.mark.skipif(len(own_cores()) < 2, reason="there is no second core")
def test_each_thread_of_a_run_alone_has_a_core_where_there_are_as_many(
    image_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, cores = _threads(), own_cores()
    kept: list[int | None] = []

    def keep(core: int | None) -> nullcontext[None]:
        kept.append(core)
        return nullcontext()

    monkeypatch.setattr(session, "kept_on", keep)

    graph = Graph(image_artifact / GRAPH_FILE, SessionOptions(alone_threads=len(cores)))
    graph.run("embeddings", {"pixels": np.full((1, 8, 8, 3), 7, np.uint8)}, alone=True)
    graph.run("embeddings", {"pixels": np.full((1, 8, 8, 3), 7, np.uint8)})

    assert kept == [cores[0]]
    assert sorted(sorted(os.sched_getaffinity(thread)) for thread in _threads() - before) == [[c] for c in cores[1:]]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_run_alone_is_as_any_other_if_it_has_no_more_threads(image_artifact: Path, threads: int) -> None:
    graph = Graph(image_artifact / GRAPH_FILE, SessionOptions(intra_op_threads=2, alone_threads=threads))

    assert not graph.is_faster_alone
    assert graph.run("embeddings", {"pixels": np.full((1, 8, 8, 3), 7, np.uint8)}, alone=True).tolist() == [[7, 7, 7]]


def _threads() -> set[int]:
    """Of this process."""
    return {int(task.name) for task in _TASKS.iterdir()}


def test_the_cpu_is_always_there() -> None:
    require_provider(Cpu())


def test_a_provider_is_tried_with_a_sound_model() -> None:
    onnx.checker.check_model(session._PROBE)  # pyright: ignore[reportPrivateUsage] (nothing but this test reads it)


@pytest.mark.skipif("CUDAExecutionProvider" in ort.get_available_providers(), reason="this onnxruntime has CUDA")
def test_a_provider_that_is_not_installed_is_refused_with_what_there_is_and_what_to_install(
    image_artifact: Path,
) -> None:
    options = SessionOptions(Cuda())

    for refuse in (lambda: require_provider(Cuda()), lambda: Graph(image_artifact / GRAPH_FILE, options)):
        with pytest.raises(ProviderError) as refusal:
            refuse()
        assert "CUDAExecutionProvider is not in the installed onnxruntime" in str(refusal.value)
        assert "CPUExecutionProvider" in str(refusal.value)
        assert "Install 'vecserve[server,gpu]' in place of 'vecserve[server,cpu]'" in str(refusal.value)


def test_a_provider_without_settings_of_ours_is_refused_by_its_name() -> None:
    with pytest.raises(ProviderError, match="NoExecutionProvider is not in the installed onnxruntime"):
        require_provider(Provider(name="NoExecutionProvider"))


@dataclass(frozen=True, kw_only=True)
class Failing(Cpu):
    """A provider that needs another, for which ONNX Runtime raises an error."""

    def chain(self) -> list[tuple[str, dict[str, str]]]:
        return [*super().chain(), ("NoExecutionProvider", {})]


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_fails_is_refused_with_what_onnx_runtime_says(image_artifact: Path) -> None:
    options = SessionOptions(Failing())

    for refuse in (lambda: require_provider(Failing()), lambda: Graph(image_artifact / GRAPH_FILE, options)):
        with pytest.raises(ProviderError, match=r"did not load: ONNX Runtime says: Unknown Provider Type: NoExec"):
            refuse()


def test_a_graph_that_cannot_be_read_is_no_fault_of_the_provider(tmp_path: Path) -> None:
    (tmp_path / GRAPH_FILE).write_bytes(b"no graph")

    with pytest.raises(Exception, match="Protobuf parsing failed") as refusal:
        Graph(tmp_path / GRAPH_FILE, SessionOptions())

    assert not isinstance(refusal.value, ProviderError)


@pytest.mark.skipif("AzureExecutionProvider" not in ort.get_available_providers(), reason="not in this onnxruntime")
def test_a_provider_that_runs_nothing_of_a_graph_is_refused(image_artifact: Path) -> None:
    azure = Provider(name="AzureExecutionProvider")

    require_provider(azure)
    with pytest.raises(ProviderError, match=r"AzureExecutionProvider runs nothing of .*: all of it is on CPUExec"):
        Graph(image_artifact / GRAPH_FILE, SessionOptions(azure))
