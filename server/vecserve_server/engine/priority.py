"""How urgent a call is."""

from enum import Enum


class Priority(Enum):
    """What a call's sender waits for."""

    INTERACTIVE = "interactive"
    """Somebody waits for this answer."""
    BULK = "bulk"
    """Throughput counts, and latency does not: imports, backfills."""

    @property
    def ahead(self) -> tuple["Priority", ...]:
        """The priorities whose work goes before what comes now: its own, and more urgent ones."""
        return (Priority.INTERACTIVE,) if self is Priority.INTERACTIVE else (Priority.INTERACTIVE, Priority.BULK)
