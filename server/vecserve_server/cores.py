"""How many cores this process may use."""

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def available_cores(cgroup: Path = _CGROUP) -> int:
    """Cores of the CPU affinity or of the cgroup's quota, rounded up, whichever is less; at least 1.

    A container's quota does not show in `os.cpu_count`, which counts the host.
    """
    affinity = len(own_cores()) or os.cpu_count() or 1
    return max(1, min(affinity, _quota(cgroup) or affinity))


def own_cores() -> list[int]:
    """Numbers of the cores that the calling thread may run on; none where the operating system doesn't tell."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _quota(cgroup: Path) -> int | None:
    """Cores of the quota, rounded up; None without one. `cpu.max` is cgroup v2's, the other two are v1's."""
    try:
        limit, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            limit = (cgroup / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text()
        except OSError:
            return None
    if limit in ("max", "-1"):
        return None
    return -(-int(limit) // int(period))
