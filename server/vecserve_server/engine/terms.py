"""On what terms a call is made."""

import math
from dataclasses import dataclass, field

from vecserve_server.engine.priority import Priority
from vecserve_server.engine.timings import Progress


@dataclass(slots=True)
class Terms:
    """What a caller asks for beside its inputs' vectors."""

    deadline: float = math.inf
    """On the engine's clock, in seconds."""
    priority: Priority = Priority.INTERACTIVE
    waits_for_room: bool = False
    """Whether a full queue makes the call wait, where it would be refused."""
    normalized: bool = False
    """Whether the vectors are to be of length 1, each divided by its Euclidean norm; but those of zeros stay."""
    progress: Progress = field(default_factory=Progress, compare=False)
    """The engine notes here how far the call has come, whichever way it ends."""
