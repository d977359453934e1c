"""Vectors and models for people. The only module that needs rich."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import numpy.typing as npt
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vecserve.embeddings import Embeddings
from vecserve.models import Fidelity, ModelInfo

_PREVIEW = 3  # elements of a vector
_MATRIX = range(2, 13)  # numbers of inputs whose similarities still fit side by side
_OTHER_COLUMNS = 54  # characters that a row needs beside its input


def print_embeddings(kind: str, inputs: Sequence[str], embeddings: Embeddings) -> None:
    """Print a row for each vector, what computed them and, for a few, their cosine similarities.

    Args:
        kind: What the inputs are: `text`, or `image` for their paths.
        inputs: One for each vector.
        embeddings: The vectors.
    """
    console = Console(highlight=False)
    width = max(12, console.width - _OTHER_COLUMNS)
    console.print(_vectors_table(kind, [_shortened(label, kind, width) for label in inputs], embeddings))
    console.print()
    console.print(_origin(embeddings), soft_wrap=True)
    if len(embeddings) in _MATRIX:
        console.print()
        console.print(_similarity_table(embeddings.vectors))


def print_models(models: Sequence[ModelInfo]) -> None:
    """Print a row for each model."""
    table = _table("name", "version", "modality", "precision", "provider", "default")
    table.add_column("dimensions", justify="right")
    for model in models:
        provider = model.execution_provider.removesuffix("ExecutionProvider")
        row = (model.name, model.version, model.modality, model.precision, provider, _yes(model.default))
        table.add_row(*map(_plain, (*row, str(model.dimensionality))))
    Console(highlight=False).print(table)


def print_model_details(models: Sequence[ModelInfo]) -> None:
    """Print all fields of each model."""
    console = Console(highlight=False)
    for model in models:
        table = Table.grid(padding=(0, 2))
        for name, value in _details(model).items():
            table.add_row(Text(name.replace("_", " "), "dim"), _plain(str(value)))
        console.print(table)
        console.print()


def cosines(vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return the cosine similarity of every pair, `(n, n)` float64; NaN beside a vector of zeros."""
    wide = vectors.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    unit = np.divide(wide, norms, out=np.full_like(wide, np.nan), where=norms > 0)
    return unit @ unit.T


def _vectors_table(kind: str, labels: Sequence[str], embeddings: Embeddings) -> Table:
    table = _table("#", kind)
    for name in ("tokens", "cut", "norm") if kind == "text" else ("norm",):
        table.add_column(name, justify="right")
    table.add_column("vector", no_wrap=True)
    norms = np.linalg.norm(embeddings.vectors.astype(np.float64), axis=1)
    for index, (label, vector) in enumerate(zip(labels, embeddings.vectors, strict=True)):
        reading = (str(embeddings.token_counts[index]), _yes(bool(embeddings.truncated[index])))
        middle = (*(reading if kind == "text" else ()), f"{norms[index]:.4g}")
        table.add_row(str(index + 1), _plain(label), *middle, _preview(vector))
    return table


def _similarity_table(vectors: npt.NDArray[np.floating]) -> Table:
    table = _table("cosine")
    for number in range(1, len(vectors) + 1):
        table.add_column(str(number), justify="right")
    for number, row in enumerate(cosines(vectors), 1):
        table.add_row(str(number), *("-" if np.isnan(value) else f"{value:.3f}" for value in row))
    return table


def _origin(embeddings: Embeddings) -> Text:
    model = embeddings.model
    scaled = "unit length" if embeddings.normalized else "not normalized"
    dimensionality = embeddings.vectors.shape[1]
    return _plain(f"{model.name} version {model.version} ({model.digest[:19]}), {dimensionality} dimensions, {scaled}")


def _preview(vector: npt.NDArray[np.floating]) -> str:
    shown = " ".join(f"{element: .4f}" for element in vector[:_PREVIEW])
    return f"{shown} ..." if len(vector) > _PREVIEW else shown


def _shortened(label: str, kind: str, width: int) -> str:
    flat = " ".join(label.split())
    if len(flat) <= width:
        return flat
    # Paths differ in their ends, texts mostly in their beginnings.
    return f"{flat[: width - 1]}…" if kind == "text" else f"…{flat[1 - width :]}"


def _details(model: ModelInfo) -> dict[str, object]:
    prompts = "\n".join(f"{name}: {text!r}" for name, text in model.prompts.items())
    return {
        **asdict(model),
        "supported_dimensionalities": ", ".join(map(str, model.supported_dimensionalities)),
        "default": _yes(model.default),
        "prompts": prompts or "none",
        "fidelity": _fidelity(model.fidelity) if model.fidelity else "unknown",
    }


def _fidelity(figures: Fidelity) -> str:
    """Lines that fit beside the names of fields in 80 columns."""
    return (
        f"against fp32 PyTorch, {figures.samples} probes ({figures.probe_set})\n"
        f"cosine: min {figures.min_cosine:.6f}, p1 {figures.p1_cosine:.6f}, mean {figures.mean_cosine:.6f}\n"
        f"elements: max error {figures.max_absolute_error:.2g}\n"
        f"similarities: max error {figures.max_similarity_error:.2g}, mean {figures.mean_similarity_error:.2g}\n"
        f"rank correlation: min {figures.min_rank_correlation:.6f}, mean {figures.mean_rank_correlation:.6f}\n"
        f"ten nearest: {figures.mean_top10_overlap:.1%} kept\n"
        f"alone or batched: off by {figures.max_batch_difference:.2g}, cosine min {figures.min_batch_cosine:.6f}"
    )


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for column in columns:
        table.add_column(column)
    return table


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _plain(text: str) -> Text:
    """Return text that is shown as it is: no markup, and no control characters to steer the terminal."""
    return Text("".join(character if character.isprintable() or character == "\n" else "�" for character in text))
