"""A wall clock that is set to another time while calls are under way."""

import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from running_server import RunningServer, serving

from vecserve import Client

JUMPS = ("+3600", "-3600", "+0")  # seconds


@pytest.fixture
def jumping(
    example_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Generator[tuple[RunningServer, Path]]:
    """A server whose wall clock shows what a file says, while time itself passes as it does."""
    library = next(Path("/usr/lib").rglob("libfaketime.so.1"), None)
    if sys.platform != "linux" or library is None:
        pytest.skip("needs libfaketime: apt install libfaketime")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "all-minilm-l6-v2").symlink_to(example_models / "all-minilm-l6-v2")
    offset = tmp_path / "offset"
    offset.write_text("+0")
    for name, value in {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }.items():
        monkeypatch.setenv(name, value)
    with serving(tmp_path / "models") as server:
        yield server, offset


def test_deadlines_hold_whatever_the_wall_clock_shows(jumping: tuple[RunningServer, Path]) -> None:
    server, offset = jumping
    with Client(server.address, timeout=10) as client:
        for jump in JUMPS:
            offset.write_text(jump)
            for _ in range(5):
                assert len(client.embed_text(["a cat on a mat"]).vectors) == 1
