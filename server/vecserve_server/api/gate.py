"""Whether calls are answered now, and by which engine."""

import asyncio

from vecserve_server.engine.engine import Engine
from vecserve_server.engine.errors import NotReadyError


class Gate:
    """Stands between the services, which exist from the start, and the engine, which has to load first."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self.closing = asyncio.Event()
        """Set when the server has begun to shut down."""

    @property
    def engine(self) -> Engine:
        """The engine to call.

        Raises:
            NotReadyError: the server is starting or shutting down.
        """
        if self.closing.is_set():
            raise NotReadyError("the server is shutting down")
        if self._engine is None:
            raise NotReadyError("the server is loading its models")
        return self._engine

    @property
    def is_open(self) -> bool:
        """Whether calls are answered now."""
        return self._engine is not None and not self.closing.is_set()

    def require_open(self) -> None:
        """Raises `NotReadyError` unless calls are answered now."""
        _ = self.engine

    def open(self, engine: Engine) -> None:
        """Lets calls through to `engine`."""
        self._engine = engine

    def close(self) -> None:
        """Refuses calls from now on."""
        self.closing.set()
