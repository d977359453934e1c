"""How much memory a process holds."""

import time
from pathlib import Path

_SETTLING_SECONDS = 10.0


def resident(pid: int) -> float:
    """Resident memory in MiB."""
    return _status(pid, "VmRSS")


def peak(pid: int) -> float:
    """The most that it ever was, in MiB."""
    return _status(pid, "VmHWM")


def settled(pid: int, at_most: float) -> float:
    """Resident memory in MiB once it is no more than `at_most`, or after some seconds in which it could have fallen."""
    deadline = time.monotonic() + _SETTLING_SECONDS
    while (now := resident(pid)) > at_most and time.monotonic() < deadline:
        time.sleep(0.2)
    return now


def _status(pid: int, name: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{name}:"))) / 1024
