"""On what terms a call is made."""

import math
from dataclasses import dataclass

from vecserve_server.engine.priority import Priority


@dataclass(frozen=True, slots=True)
class Terms:
    """What a caller asks for beside its inputs' vectors."""

    deadline: float = math.inf
    """On the engine's clock, in seconds."""
    priority: Priority = Priority.INTERACTIVE
    waits_for_room: bool = False
    """Whether a full queue makes the call wait, where it would be refused."""
