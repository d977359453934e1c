"""Exports to a disk that fills up."""

import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from vecserve_export.cli import main


@pytest.fixture(params=[4, 64, 200])
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Generator[Path]:
    """A file system of so many kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={request.param}k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_reported_and_leaves_no_half_artifact(
    small_disk: Path, bert_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["bert", "--source", str(bert_directory), "--name", "model", "--out", str(small_disk)])

    assert status == 1
    message = capsys.readouterr().err
    assert f"can't write to {small_disk}" in message
    assert "No space left on device" in message
    assert "Traceback" not in message
    assert list(small_disk.iterdir()) == []
