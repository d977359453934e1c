"""`make precision`: the tables of docs/precision.md from artifacts' manifests, and its plots by running them."""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vecserve_export.fidelity import BOUNDS, similarities
from vecserve_export.verify import embed_probes
from vecserve_server.cores import available_cores
from vecserve_server.models.fidelity import ERRORS, Agreement, Error, Fidelity
from vecserve_server.models.inputs import InputLimits
from vecserve_server.models.manifest import Manifest
from vecserve_server.models.model import open_artifact
from vecserve_server.models.repository import find_artifacts
from vecserve_server.models.session import SessionOptions

_FIGURES: dict[Error | Agreement, str] = {
    "max_absolute_error": "largest error of an element",
    "min_cosine": "cosine, smallest",
    "p1_cosine": "cosine, 1st percentile",
    "mean_cosine": "cosine, mean",
    "max_similarity_error": "error of a similarity, largest",
    "mean_similarity_error": "error of a similarity, mean",
    "min_rank_correlation": "rank correlation, smallest",
    "mean_rank_correlation": "rank correlation, mean",
    "mean_top10_overlap": "ten nearest that are kept",
    "max_batch_difference": "alone against in a batch: largest difference",
    "min_batch_cosine": "alone against in a batch: smallest cosine",
}

_INK, _ACCENT = "#33415c", "#c1121f"


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parse(argv)
    artifacts = {directory.parent.name: directory for directory in find_artifacts(arguments.models)}
    manifests = {name: Manifest.read(directory) for name, directory in artifacts.items()}
    pairs: list[tuple[str, str]] = arguments.plot or pairs_among(manifests)
    for pair in pairs:
        if fault := _fault(*pair, manifests):
            sys.exit(f"--plot {' '.join(pair)}: {fault}")
    runs = {name: _run(artifacts[name]) for name in {name for pair in pairs for name in pair}}
    plots = [plot(runs[reference], runs[compared], arguments.page.parent) for reference, compared in pairs]
    page = arguments.page.read_text(encoding="utf-8")
    page = replaced(page, "bounds", bounds_table())
    page = replaced(page, "measured", measured_tables(manifests))
    page = replaced(
        page, "plots", "\n\n".join(plots) or "There was no artifact of lower precision beside its fp32 one."
    )
    arguments.page.write_text(page, encoding="utf-8")
    return 0


def _fault(reference: str, compared: str, manifests: Mapping[str, Manifest]) -> str:
    """Why two artifacts can't be plotted against each other; empty if they can."""
    for name in (reference, compared):
        if name not in manifests:
            return f"there is no {name}, only {', '.join(manifests)}"
    if manifests[reference].modality != manifests[compared].modality:
        return "one embeds texts, the other images"
    return ""


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make precision", description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"), help="directory of artifacts")
    parser.add_argument("--page", type=Path, default=Path("docs/precision.md"), help="where to write; plots go beside")
    parser.add_argument(
        "--plot",
        nargs=2,
        action="append",
        default=[],
        metavar=("REFERENCE", "COMPARED"),
        help="artifacts to plot, may be repeated (default: each int8 and fp16 one with that whose name it lengthens)",
    )
    return parser.parse_args(argv)


def pairs_among(manifests: Mapping[str, Manifest]) -> list[tuple[str, str]]:
    """Each artifact that is not fp32, after the fp32 one of its name without the last part."""
    pairs = [(name.rpartition("-")[0], name) for name, manifest in manifests.items() if manifest.precision != "fp32"]
    return [pair for pair in pairs if pair[0] in manifests and manifests[pair[0]].precision == "fp32"]


def bounds_table() -> str:
    """What each precision has to keep, as Markdown."""
    figures: list[Error | Agreement] = [
        figure for figure in _FIGURES if any(figure in bounds for bounds in BOUNDS.values())
    ]
    rows = [["", *BOUNDS]]
    for figure in figures:
        sign = "≤" if figure in ERRORS else "≥"
        limits = [bounds.get(figure) for bounds in BOUNDS.values()]
        rows.append([_FIGURES[figure], *("" if limit is None else f"{sign} {limit:g}" for limit in limits)])
    return _table(rows)


def measured_tables(manifests: Mapping[str, Manifest]) -> str:
    """The figures of all artifacts, a table for each probe set, as Markdown."""
    sets = sorted({manifest.fidelity.probe_set for manifest in manifests.values()}, reverse=True)
    return "\n\n".join(_measured_table(probe_set, manifests) for probe_set in sets)


def _measured_table(probe_set: str, manifests: Mapping[str, Manifest]) -> str:
    shown = {name: each for name, each in manifests.items() if each.fidelity.probe_set == probe_set}
    samples = next(iter(shown.values())).fidelity.samples
    heads = [f"{name} ({manifest.precision})" for name, manifest in shown.items()]
    rows = [[f"{samples} probes of {probe_set}", *heads]]
    rows.append(["weights", *("random" if each.source.random else each.source.uri for each in shown.values())])
    for figure, label in _FIGURES.items():
        rows.append([label, *(_shown(figure, manifest.fidelity) for manifest in shown.values())])
    return _table(rows)


def _shown(figure: Error | Agreement, fidelity: Fidelity) -> str:
    value: float = getattr(fidelity, figure)
    return f"{value:.2g}" if figure in ERRORS else f"{value:.6f}"


def _table(rows: list[list[str]]) -> str:
    head, *body = ("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join([head, "|---" * len(rows[0]) + "|", *body])


@dataclass(frozen=True)
class Run:
    """What one artifact makes of its probe set."""

    name: str
    precision: str
    probe_set: str
    similarities: NDArray[np.float64]
    """Of every pair of probes, `(pairs,)`."""

    def __str__(self) -> str:
        return f"{self.name} ({self.precision})"


def _run(directory: Path) -> Run:
    model = open_artifact(directory, SessionOptions(intra_op_threads=available_cores()), InputLimits())
    matrix = similarities(embed_probes(model))
    manifest = model.manifest
    pairs = matrix[np.triu_indices(len(matrix), k=1)]
    return Run(model.name, manifest.precision, manifest.fidelity.probe_set, pairs)


def plot(reference: Run, compared: Run, folder: Path) -> str:
    """Draws the similarities by one artifact against those by another into a PNG file.

    Returns:
        The Markdown that shows it.
    """
    with mpl.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(10, 4.6), layout="constrained", dpi=130)
        left, right = figure.subplots(1, 2, width_ratios=(1.1, 1))
        _draw_pairs(left, reference, compared)
        _draw_differences(right, compared.similarities - reference.similarities)
        figure.suptitle(f"Cosine similarities of {len(compared.similarities):,} pairs of probes ({compared.probe_set})")
        file = folder / f"precision-{compared.name}.png"
        figure.savefig(file)
    return f"![Similarities by {compared} against those by {reference}, and their differences]({file.name})"


def _draw_pairs(axes: Axes, reference: Run, compared: Run) -> None:
    true, found = reference.similarities, compared.similarities
    ends = min(true.min(), found.min()), max(true.max(), found.max())
    cells = axes.hexbin(true, found, gridsize=70, bins="log", mincnt=1, cmap="viridis", linewidths=0)
    axes.plot(ends, ends, color=_ACCENT, linewidth=1, label="equal")
    axes.set(xlabel=f"similarity, {reference}", ylabel=f"similarity, {compared}", aspect="equal")
    axes.legend(loc="upper left", frameon=False)
    axes.figure.colorbar(cells, ax=axes, label="pairs in a cell")


def _draw_differences(axes: Axes, differences: NDArray[np.float64]) -> None:
    low, high = np.percentile(differences, [1, 99])
    largest = float(np.abs(differences).max())
    axes.hist(differences, bins=80, color=_INK)
    axes.locator_params(axis="x", nbins=5)
    axes.axvline(0, color=_ACCENT, linewidth=1)
    for bound in (low, high):
        axes.axvline(float(bound), color=_INK, linewidth=1, linestyle="--")
    span = largest or 1.0
    axes.set(xlim=(-span, span), xlabel="difference of the similarities (vertical - horizontal axis)", ylabel="pairs")
    axes.set_title(f"98 % between {low:+.2g} and {high:+.2g} (dashed), largest {largest:.2g}", fontsize=10)


def replaced(page: str, section: str, content: str) -> str:
    """The page with what stands between a section's two comments replaced.

    Raises:
        ValueError: the page has no such comments.
    """
    begin, end = f"<!-- {section}: written by make precision -->", f"<!-- end of {section} -->"
    found = re.search(f"{re.escape(begin)}.*?{re.escape(end)}", page, re.DOTALL)
    if not found:
        raise ValueError(f"the page has no section between '{begin}' and '{end}'")
    return f"{page[: found.start()]}{begin}\n{content}\n{end}{page[found.end() :]}"


if __name__ == "__main__":
    sys.exit(main())
