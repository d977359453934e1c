"""Being on time beside a busy server.

A process that wakes up waits for whoever has the core: up to 4 ms on Linux 6.18 where both cores of two were busy, so
that at half of a server's capacity 6 to 11 % of an open loop's calls were sent more than 1 ms late; of a real-time
process, at most 0.6 %. Niceness and a shorter slice changed little: the scheduler counts sessions as groups.
"""

import contextlib
import os


def become_realtime() -> None:
    """Let this process run as soon as it wakes up, where the system allows it: root, CAP_SYS_NICE, `ulimit -r`."""
    if hasattr(os, "sched_setscheduler"):
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(os.sched_get_priority_min(os.SCHED_RR)))


def is_realtime() -> bool:
    """Return whether this process is."""
    return hasattr(os, "sched_getscheduler") and os.sched_getscheduler(0) in (os.SCHED_RR, os.SCHED_FIFO)
