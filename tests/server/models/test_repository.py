from pathlib import Path

import pytest

from vecserve_server.models.manifest import ArtifactError
from vecserve_server.models.repository import find_artifacts, find_versions


def make(root: Path, *artifacts: str) -> None:
    for artifact in artifacts:
        (root / artifact).mkdir(parents=True)


def test_models_are_found_in_the_order_of_their_names(tmp_path: Path) -> None:
    make(tmp_path, "resnet50/1", "bert/1", "minilm/3")

    assert find_artifacts(tmp_path) == [tmp_path / "bert/1", tmp_path / "minilm/3", tmp_path / "resnet50/1"]


def test_the_highest_version_is_found_by_number_and_not_by_letter(tmp_path: Path) -> None:
    make(tmp_path, "bert/9", "bert/10", "bert/1")

    assert find_artifacts(tmp_path) == [tmp_path / "bert/10"]


def test_what_is_no_version_is_not_looked_at(tmp_path: Path) -> None:
    make(tmp_path, "bert/1", "bert/latest", "bert/.2", "bert/-3", "bert/1.5", "notes/drafts", ".trash/1")
    (tmp_path / "bert" / "4").touch()
    (tmp_path / "README.md").touch()

    assert find_artifacts(tmp_path) == [tmp_path / "bert/1"]


@pytest.mark.parametrize("artifacts", [[], ["bert"], ["bert/latest"]])
def test_a_directory_without_artifacts_is_refused(tmp_path: Path, artifacts: list[str]) -> None:
    make(tmp_path, *artifacts)

    with pytest.raises(ArtifactError, match=f"model directory '{tmp_path}' holds no <name>/<version>/"):
        find_artifacts(tmp_path)


def test_a_directory_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=f"model directory '{tmp_path / 'nowhere'}': No such file or directory"):
        find_artifacts(tmp_path / "nowhere")


def test_a_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "models").touch()

    with pytest.raises(ArtifactError, match="Not a directory"):
        find_artifacts(tmp_path / "models")


def test_as_many_versions_as_asked_for_are_found_the_highest_last(tmp_path: Path) -> None:
    for version in ("1", "9", "10"):
        (tmp_path / "bert" / version).mkdir(parents=True)
    (tmp_path / "minilm" / "1").mkdir(parents=True)

    assert find_artifacts(tmp_path, count=2) == [tmp_path / "bert/9", tmp_path / "bert/10", tmp_path / "minilm/1"]


def test_no_version_above_a_pin_is_found(tmp_path: Path) -> None:
    for version in ("1", "2", "3"):
        (tmp_path / "bert" / version).mkdir(parents=True)

    assert find_artifacts(tmp_path, pins={"bert": 2}) == [tmp_path / "bert/2"]
    assert find_versions(tmp_path, "bert", 2) == [tmp_path / "bert/1", tmp_path / "bert/2"]
    assert find_versions(tmp_path, "bert") == [tmp_path / f"bert/{version}" for version in (1, 2, 3)]
