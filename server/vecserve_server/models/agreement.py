"""Whether a graph is the one that its manifest describes."""

from pathlib import Path

from vecserve_server.models.manifest import METADATA_PREFIX, ArtifactError, ImageInput, Manifest
from vecserve_server.models.session import Graph

_INPUTS = {"text": {"input_ids", "attention_mask"}, "image": {"pixels"}}


def check_graph(file: Path, graph: Graph, manifest: Manifest) -> None:
    """Compares inputs, output and metadata of a loaded graph with the manifest.

    Raises:
        ArtifactError: they differ; the message names the manifest's field, with both values.
    """
    _check_inputs(file, graph, manifest)
    _check_output(file, graph, manifest)
    for field, stated in manifest.graph_facts.items():
        _check_fact(file, graph, field, stated)


def _check_inputs(file: Path, graph: Graph, manifest: Manifest) -> None:
    expected = _INPUTS[manifest.modality]
    if set(graph.inputs) != expected:
        raise ArtifactError(
            f"{file}: a graph for manifest input.modality '{manifest.modality}' takes {sorted(expected)}, "
            f"and this one takes {sorted(graph.inputs)}"
        )
    if isinstance(manifest.input, ImageInput):
        edge, shape = manifest.input.crop_size, graph.inputs["pixels"]
        if shape[1:] != [edge, edge, 3]:
            raise ArtifactError(f"{file}: manifest input.crop_size is {edge}, and the graph's input {shape}")


def _check_output(file: Path, graph: Graph, manifest: Manifest) -> None:
    if manifest.output not in graph.outputs:
        raise ArtifactError(
            f"{file}: manifest output is '{manifest.output}', and the graph has {sorted(graph.outputs)}"
        )
    shape = graph.outputs[manifest.output]
    if len(shape) != 2 or shape[1] != manifest.dimensionality:
        raise ArtifactError(
            f"{file}: manifest dimensionality is {manifest.dimensionality}, and the graph's output {shape}"
        )


def _check_fact(file: Path, graph: Graph, field: str, stated: str) -> None:
    key = f"{METADATA_PREFIX}{field}"
    found = graph.metadata.get(key)
    if found is None:
        raise ArtifactError(
            f"{file}: manifest {field} is '{stated}', and the graph's metadata lacks {key}: export the model anew"
        )
    if found != stated:
        raise ArtifactError(f"{file}: manifest {field} is '{stated}', and the graph's metadata says '{found}'")
