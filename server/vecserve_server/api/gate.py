"""Whether calls are answered now, and by which engine."""

import asyncio

from vecserve_server.engine.engine import Engine
from vecserve_server.engine.errors import NotReadyError
from vecserve_server.rollout import Rollout


class Gate:
    """Stands between the services, which exist from the start, and the engine, which has to load first."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._rollout: Rollout | None = None
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
    def rollout(self) -> Rollout:
        """What changes the engine's models; raises as `engine`."""
        self.require_open()
        assert self._rollout
        return self._rollout

    @property
    def is_live(self) -> bool:
        """Whether the server can still do its work, now or after it has loaded; if not, it has to be started anew."""
        return self._engine is None or not self._engine.exhausted

    @property
    def is_ready(self) -> bool:
        """Whether calls of any model are answered now."""
        return any(self.models().values())

    def models(self) -> dict[str, bool]:
        """Whether calls of a model are answered now, by name: by its highest version, which its name means."""
        if self._engine is None:
            return {}
        is_open = not self.closing.is_set()
        return {model.name: is_open and self._engine.works(model) for model in self._engine.catalog}

    def require_open(self) -> None:
        """Raises `NotReadyError` unless calls are answered now."""
        _ = self.engine

    def open(self, engine: Engine, rollout: Rollout | None = None) -> None:
        """Lets calls through to `engine`."""
        self._engine, self._rollout = engine, rollout

    def close(self) -> None:
        """Refuses calls from now on."""
        self.closing.set()
