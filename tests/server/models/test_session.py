from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from vecserve_server.models.manifest import GRAPH_FILE
from vecserve_server.models.session import Graph, Provider, ProviderError, SessionOptions, require_provider


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


def test_the_cpu_is_always_there() -> None:
    require_provider(Provider.CPU)


@pytest.mark.skipif("CUDAExecutionProvider" in ort.get_available_providers(), reason="this onnxruntime has CUDA")
def test_a_provider_that_is_not_installed_is_refused_with_what_there_is(image_artifact: Path) -> None:
    options = SessionOptions(Provider.CUDA)

    for refuse in (lambda: require_provider(Provider.CUDA), lambda: Graph(image_artifact / GRAPH_FILE, options)):
        with pytest.raises(ProviderError) as refusal:
            refuse()
        assert "provider 'cuda' is not in the installed onnxruntime" in str(refusal.value)
        assert "CPUExecutionProvider" in str(refusal.value)
