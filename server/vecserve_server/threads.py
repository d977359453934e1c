"""Which threads go first, and where they run."""

import os
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Final

COMPUTING: Final = 5
"""How much nicer than the event loop the threads are that compute.

Of two that want the same core, the one that is nicer by 5 gets a quarter. The loop must not queue for a core: with
three times more short texts than two cores can compute it took 230 ms to refuse one, and most of what it had accepted
came too late.
"""

BACKGROUND: Final = 10
"""How much nicer those are whose work can wait for all other work."""

_NICEST = 19


@contextmanager
def kept_on(core: int | None) -> Generator[None]:
    """Keeps the calling thread on one core, unless that is None or the operating system doesn't let it."""
    if core is None:
        yield
        return
    cores = os.sched_getaffinity(0)
    with suppress(OSError):
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        with suppress(OSError):
            os.sched_setaffinity(0, cores)


def yield_to_others(by: int) -> None:
    """Makes the calling thread nicer, and so lowers its share of the cores, where threads have a niceness: Linux."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, min(_NICEST, os.getpriority(os.PRIO_PROCESS, thread) + by))
