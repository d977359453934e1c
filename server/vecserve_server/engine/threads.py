"""Threads that let others go first."""

import os
import sys
import threading

from vecserve_server.engine.priority import Priority

# How much nicer than the event loop the threads are that compute. Of two that want the same core, the one that is nicer
# by 5 gets a quarter. The loop must not queue for a core: with three times more short texts than two cores can compute
# it took 230 ms to refuse one, and most of what it had accepted came too late.
_NICER = {Priority.INTERACTIVE: 5, Priority.BULK: 10}
_NICEST = 19


def yield_to_others(priority: Priority) -> None:
    """Lowers the calling thread's share of the cores, on operating systems that can: Linux."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        niceness = min(_NICEST, os.getpriority(os.PRIO_PROCESS, thread) + _NICER[priority])
        os.setpriority(os.PRIO_PROCESS, thread, niceness)
