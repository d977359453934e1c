import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vecserve_export import artifact
from vecserve_export.artifact import check_name, next_version, publish, staging, write_manifest
from vecserve_export.errors import ArtifactWriteError
from vecserve_server.models.manifest import Manifest


@pytest.fixture
def manifest(tiny_models: Path) -> Manifest:
    return Manifest.read(tiny_models / "mean" / "1")


def export(out: Path, manifest: Manifest, content: str = "graph") -> Path:
    with staging(out, "model") as directory:
        (directory / "model.onnx").write_text(content)
        write_manifest(directory, manifest)
        return publish(directory, out, "model").directory


def test_the_first_version_is_1_and_the_next_2(tmp_path: Path, manifest: Manifest) -> None:
    assert export(tmp_path, manifest) == tmp_path / "model" / "1"
    assert export(tmp_path, manifest) == tmp_path / "model" / "2"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_the_next_version_exceeds_the_highest(tmp_path: Path) -> None:
    for name in ("1", "12", "notes", ".13"):
        (tmp_path / name).mkdir()
    assert next_version(tmp_path) == 13


def test_concurrent_exports_get_a_version_each(tmp_path: Path, manifest: Manifest) -> None:
    ready = threading.Barrier(8)

    def take_part(number: int) -> tuple[Path, str]:
        ready.wait()
        return export(tmp_path, manifest, f"graph {number}"), f"graph {number}"

    with ThreadPoolExecutor(8) as threads:
        published = list(threads.map(take_part, range(8)))
    assert {path.name for path, _ in published} == {str(version) for version in range(1, 9)}
    assert all((path / "model.onnx").read_text() == content for path, content in published)


def test_a_version_taken_in_the_meantime_is_left_alone(
    tmp_path: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = export(tmp_path, manifest, "first")
    believed_free = iter([1, 2])

    def next_version(versions: Path) -> int:
        return next(believed_free)

    monkeypatch.setattr(artifact, "next_version", next_version)
    assert export(tmp_path, manifest, "second").name == "2"
    assert (first / "model.onnx").read_text() == "first"


@pytest.mark.parametrize("stop", [RuntimeError, KeyboardInterrupt])
def test_an_export_that_stops_midway_leaves_nothing(tmp_path: Path, stop: type[BaseException]) -> None:
    def export_half() -> None:
        with staging(tmp_path, "model") as directory:
            (directory / "model.onnx").write_text("half")
            raise stop

    with pytest.raises(stop):
        export_half()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_seen_of_an_artifact_before_it_is_published(tmp_path: Path) -> None:
    with staging(tmp_path, "model") as directory:
        assert directory.parent == tmp_path
        assert directory.name.startswith(".")
        assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == []


def test_other_users_can_read_what_is_published(tmp_path: Path, manifest: Manifest) -> None:
    (tmp_path / "made-here").mkdir()
    usual = (tmp_path / "made-here").stat().st_mode
    assert export(tmp_path, manifest).stat().st_mode == usual


@pytest.mark.parametrize("name", ["a", "all-MiniLM-L6-v2", "resnet50_v1.5", "-", "7"])
def test_names_of_letters_digits_dots_and_dashes_are_allowed(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "../a", "a b", "é", "a\n"])
def test_other_names_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactWriteError, match="can't be a model's name"), staging(tmp_path, name):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactWriteError, match=r"can't write to .*file/models: Not a directory"):
        staging(tmp_path / "file" / "models", "model").__enter__()
    with pytest.raises(ArtifactWriteError, match="file is not a directory that can be written"):
        staging(tmp_path, "file").__enter__()
