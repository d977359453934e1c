"""Calls that can't be answered in time, whatever they ask for, refused before their message is read."""

import asyncio
import math

from vecserve_server.api.gate import Gate
from vecserve_server.api.metadata import priority_of
from vecserve_server.engine.admission import DeadlineUnmetError
from vecserve_server.engine.errors import EngineError, InvalidInputError, NotReadyError, OverloadedError
from vecserve_server.engine.priority import Priority
from vecserve_wire.details import Details

# Those that compute one answer. A stream waits for room instead, and ModelInfer's message says how urgent it is.
_METHODS = frozenset({"/vecserve.v1.EmbeddingService/EmbedText", "/vecserve.v1.EmbeddingService/EmbedImage"})

_NOTHING: tuple[float, OverloadedError | None] = (0.0, None)


class OverloadCheck:
    """Refuses calls while the work ahead of them takes too long.

    It is the engine's own admission, for a call that asks for as little as any of the latest. To read and parse a call
    only to refuse it takes several times as long, and that time is missing for those that are accepted.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._coming = dict.fromkeys(Priority, 0)
        """Calls of this round of the event loop that were not refused: their handlers begin in the next."""
        self._refused: dict[Priority, tuple[float, OverloadedError]] = {}
        """Of this round: a caller's patience that was not enough, and what it was told."""
        self._remembers = False

    def __call__(self, details: Details) -> EngineError | None:
        if details.method not in _METHODS:
            return None
        try:
            engine, priority = self._gate.engine, priority_of(details.invocation_metadata)
        except (NotReadyError, InvalidInputError):  # its handler says so
            return None
        patience = math.inf if details.timeout is None else details.timeout
        enough, error = self._refused.get(priority, _NOTHING)
        if error and (patience == enough or (patience < enough and isinstance(error, DeadlineUnmetError))):
            engine.refuse_alike(priority, error)
            return error
        error = engine.refusal(priority, patience, self._coming[priority])
        if error is None:
            self._coming[priority] += 1
        else:
            self._refused[priority] = patience, error
        if not self._remembers:
            self._remembers = True
            asyncio.get_running_loop().call_soon(self._forget)
        return error

    def _forget(self) -> None:
        self._remembers = False
        self._coming = dict.fromkeys(Priority, 0)
        self._refused.clear()
