import os
from pathlib import Path

import pytest

from vecserve_server.cores import available_cores


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    def affinity(pid: int) -> set[int]:
        return set(range(8))

    monkeypatch.setattr(os, "sched_getaffinity", affinity, raising=False)


def v2(cgroup: Path, content: str) -> None:
    (cgroup / "cpu.max").write_text(content)


def v1(cgroup: Path, quota: str, period: str = "100000\n") -> None:
    (cgroup / "cpu").mkdir()
    (cgroup / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (cgroup / "cpu" / "cpu.cfs_period_us").write_text(period)


def test_without_a_cgroup_the_affinity_counts(tmp_path: Path) -> None:
    assert available_cores(tmp_path / "nowhere") == 8


@pytest.mark.parametrize(
    ("content", "cores"),
    [
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("100001 100000\n", 2),
        ("50000 100000\n", 1),
        ("1000 100000\n", 1),
        ("25000 5000\n", 5),
        ("6400000 100000\n", 8),
    ],
)
def test_the_quota_of_cgroup_v2_counts_rounded_up(tmp_path: Path, content: str, cores: int) -> None:
    v2(tmp_path, content)

    assert available_cores(tmp_path) == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1\n", 8), ("300000\n", 3), ("250000\n", 3), ("10000\n", 1)])
def test_the_quota_of_cgroup_v1_counts_rounded_up(tmp_path: Path, quota: str, cores: int) -> None:
    v1(tmp_path, quota)

    assert available_cores(tmp_path) == cores


def test_cgroup_v2_is_asked_first(tmp_path: Path) -> None:
    v2(tmp_path, "200000 100000\n")
    v1(tmp_path, "300000\n")

    assert available_cores(tmp_path) == 2


def test_a_quota_that_cannot_be_read_does_not_count(tmp_path: Path) -> None:
    v2(tmp_path, "")

    assert available_cores(tmp_path) == 8


def test_the_system_is_asked_where_there_is_no_affinity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)

    assert available_cores(tmp_path) == 3
