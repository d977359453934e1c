from pathlib import Path
from typing import get_args

import pytest
from PIL import Image

from benchmarks import precision
from vecserve_export.verify import UNMEASURED
from vecserve_server.models.fidelity import Agreement, Error
from vecserve_server.models.manifest import Manifest

PAGE = Path(__file__).parents[2] / "docs" / "precision.md"


@pytest.fixture
def manifests(example_models: Path) -> dict[str, Manifest]:
    """Of an encoder in fp32, fp16 and int8, and of one whose fp32 there is none of."""
    manifest = Manifest.read(example_models / "all-minilm-l6-v2" / "1")
    fidelity = UNMEASURED.model_copy(
        update={"probe_set": "texts-1", "samples": 256, "mean_cosine": 0.9975, "max_batch_difference": 3e-8}
    )
    lower = {name: manifest.model_copy(update={"precision": name, "fidelity": fidelity}) for name in ("int8", "fp16")}
    return {
        "bert": manifest,
        "bert-int8": lower["int8"],
        "bert-fp16": lower["fp16"],
        "bge-int8": lower["int8"],
    }


def test_artifacts_are_plotted_against_the_fp32_of_their_name(manifests: dict[str, Manifest]) -> None:
    assert precision.pairs_among(manifests) == [("bert", "bert-int8"), ("bert", "bert-fp16")]


def test_every_figure_of_every_artifact_has_a_cell(manifests: dict[str, Manifest]) -> None:
    head, rule, *rows = precision.measured_tables(manifests).splitlines()
    assert head == "| 256 probes of texts-1 | bert (fp32) | bert-int8 (int8) | bert-fp16 (fp16) | bge-int8 (int8) |"
    assert rule == "|---|---|---|---|---|"
    assert len(rows) == 1 + len(get_args(Error)) + len(get_args(Agreement))
    assert "| cosine, mean | 1.000000 | 0.997500 | 0.997500 | 0.997500 |" in rows
    assert any(row.endswith("| 3e-08 | 3e-08 | 3e-08 |") for row in rows)


def test_the_page_shows_the_bounds_that_exports_keep() -> None:
    assert precision.bounds_table() in PAGE.read_text(encoding="utf-8"), "'make precision' writes it anew"


def test_tables_and_plots_replace_those_of_the_page(example_models: Path, tmp_path: Path) -> None:
    page = tmp_path / "precision.md"
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    pair = ["all-minilm-l6-v2", "all-minilm-l6-v2"]

    precision.main(["--models", str(example_models), "--page", str(page), "--plot", *pair])

    written = page.read_text(encoding="utf-8")
    assert written.count("](precision-all-minilm-l6-v2.png)") == 1
    assert written.count("| 256 probes of texts-1 | all-minilm-l6-v2 (fp32) |") == 1
    assert written.count("| 64 probes of images-1 | resnet50 (fp32) |") == 1
    with Image.open(tmp_path / "precision-all-minilm-l6-v2.png") as plot:
        assert plot.width > plot.height > 400


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        (["resnet50", "bert"], "there is no bert, only all-minilm-l6-v2, resnet50"),
        (["all-minilm-l6-v2", "resnet50"], "one embeds texts, the other images"),
    ],
)
def test_artifacts_that_do_not_compare_are_refused(example_models: Path, pair: list[str], said: str) -> None:
    with pytest.raises(SystemExit, match=f"--plot {' '.join(pair)}: {said}"):
        precision.main(["--models", str(example_models), "--page", str(PAGE), "--plot", *pair])


def test_a_section_is_replaced_as_often_as_it_is_written() -> None:
    page = "# P\n<!-- bounds: written by make precision -->\n<!-- end of bounds -->\ntext\n"
    once = precision.replaced(page, "bounds", "| a |")
    assert once.splitlines()[2] == "| a |"
    assert precision.replaced(once, "bounds", "| a |") == once


def test_a_page_without_the_section_is_refused() -> None:
    with pytest.raises(ValueError, match="no section between '<!-- bounds: written by make precision -->'"):
        precision.replaced("# Precision", "bounds", "")
