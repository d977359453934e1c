import logging
import os
from pathlib import Path

import pytest

from vecserve_server.listening.errors import FileError
from vecserve_server.listening.watched import WatchedFiles


def _numbers(contents: bytes) -> list[int]:
    try:
        return [int(line) for line in contents.split()]
    except ValueError:
        raise FileError("it holds something that is no number") from None


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "numbers"
    path.write_text("1 2")
    return path


@pytest.fixture
def watched(file: Path) -> WatchedFiles[list[int]]:
    return WatchedFiles("numbers", [file], _numbers)


def test_what_is_there_at_first_is_read_at_once(watched: WatchedFiles[list[int]]) -> None:
    assert watched.value == [1, 2]


def test_a_file_that_cannot_be_read_at_first_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"missing can't be read: No such file or directory"):
        WatchedFiles("numbers", [tmp_path / "missing"], _numbers)


def test_new_contents_are_taken_over_once_they_are_the_same_for_two_looks(
    watched: WatchedFiles[list[int]], file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    file.write_text("3")
    watched.look()
    assert watched.value == [1, 2]
    file.write_text("3 4 5")
    watched.look()
    assert watched.value == [1, 2]
    watched.look()
    assert watched.value == [3, 4, 5]
    watched.look()
    assert [record.getMessage() for record in caplog.records] == ["numbers read anew: [3, 4, 5]"]


def test_contents_that_make_no_sense_are_told_once_and_the_old_ones_stay(
    watched: WatchedFiles[list[int]], file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text("three")
    for _ in range(5):
        watched.look()
    assert watched.value == [1, 2]
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.getMessage() == "numbers stay as they were: it holds something that is no number"
    file.write_text("33333")
    watched.look()
    watched.look()
    assert watched.value == [33333]


def test_the_old_contents_stay_while_a_file_is_gone(watched: WatchedFiles[list[int]], file: Path) -> None:
    file.unlink()
    for _ in range(3):
        watched.look()
    assert watched.value == [1, 2]


def test_a_link_that_is_moved_is_followed(tmp_path: Path) -> None:
    """As Kubernetes replaces a mounted secret: `..data` points to the folder that holds the present files."""
    for folder, contents in (("first", "1"), ("second", "2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "numbers").write_text(contents)
    data, file = tmp_path / "..data", tmp_path / "numbers"
    data.symlink_to("first")
    file.symlink_to("..data/numbers")
    watched = WatchedFiles("numbers", [file], _numbers)
    assert watched.value == [1]

    (tmp_path / "new").symlink_to("second")
    os.replace(tmp_path / "new", data)
    watched.look()
    watched.look()

    assert watched.value == [2]
