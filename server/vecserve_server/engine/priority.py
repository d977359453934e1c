"""How urgent a call is."""

from enum import Enum

from vecserve_server.threads import BACKGROUND, COMPUTING


class Priority(Enum):
    """What a call's sender waits for."""

    INTERACTIVE = "interactive"
    """Somebody waits for this answer."""
    BULK = "bulk"
    """Throughput counts, and latency does not: imports, backfills."""

    ahead: tuple["Priority", ...]
    """The priorities whose work goes before what comes now: its own, and more urgent ones."""

    niceness: int
    """How much nicer than the event loop the threads are that do its work."""

    __hash__ = object.__hash__  # in a tenth of the time of Enum's, which is a Python function


Priority.INTERACTIVE.ahead = (Priority.INTERACTIVE,)
Priority.BULK.ahead = (Priority.INTERACTIVE, Priority.BULK)
Priority.INTERACTIVE.niceness, Priority.BULK.niceness = COMPUTING, BACKGROUND
