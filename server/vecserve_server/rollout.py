"""Which versions are served, and how that changes while the server runs."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from vecserve_server.config import ServerConfig
from vecserve_server.engine.catalog import Catalog
from vecserve_server.engine.engine import Engine
from vecserve_server.engine.errors import DefaultModelError, ModelLoadError, ModelNotFoundError, NotReadyError
from vecserve_server.engine.served import Served
from vecserve_server.loading import Loader, LoadingStoppedError
from vecserve_server.memory import return_memory
from vecserve_server.models.model import AnyModel
from vecserve_server.models.repository import find_versions
from vecserve_server.threads import BACKGROUND, yield_to_others

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_STOPPED = "the server is shutting down"

_Look = tuple[tuple[str, int, int], ...]
"""Names, sizes and times of the files of a version."""


class Rollout:
    """Has versions of the model repository take over from those that serve. Belongs to the engine's event loop.

    A version is loaded, warmed up and checked on a thread of its own, which lets others go first, while calls go on.
    Then calls find it, and the one before is forgotten when those that found it earlier have ended. One change is
    made at a time.
    """

    def __init__(self, engine: Engine, loader: Loader, config: ServerConfig) -> None:
        self._engine = engine
        self._loader = loader
        self._root = config.models
        self._count = config.model_versions
        self._config_pins = config.pin
        self._pins = dict(config.pin)
        self._unloaded: set[str] = set()
        """Names that are not to be loaded again by themselves."""
        self._broken: dict[Path, _Look] = {}
        """Versions that could not be served, and what they looked like then."""
        self._changing = asyncio.Lock()
        self._stopped = False
        self._retiring: set[asyncio.Task[None]] = set()
        self._thread = ThreadPoolExecutor(1, "load", initializer=yield_to_others, initargs=(BACKGROUND,))

    async def load(self, name: str, version: str = "") -> list[AnyModel]:
        """Has a version take over, or the highest that settings allow; every version that is served then.

        Raises:
            ModelNotFoundError: the repository has no such model or version.
            ModelLoadError: it can't be served, and why; what was served goes on.
            NotReadyError: the server is shutting down.
        """
        async with self._changing:
            pin = int(version) if version.isdecimal() else self._config_pins.get(name)
            found = await self._run(self._find, name, pin)
            if version and [path.name for path in found[-1:]] != [version]:
                raise ModelNotFoundError(name, f"{self._root} has no version '{version}' of model '{name}'")
            if not found:
                raise ModelNotFoundError(name, f"{self._root} has no version of model '{name}' that may be served")
            await self._serve(name, found[-self._count :])
            self._unloaded.discard(name)
            self._pins.pop(name, None)
            if pin is not None:
                self._pins[name] = pin
            return self._engine.catalog.versions(name)

    async def unload(self, name: str) -> list[AnyModel]:
        """Takes a model out with all its versions, which are returned; it stays out until it is loaded.

        Raises:
            ModelNotFoundError: it is not loaded.
            DefaultModelError: calls that name no model mean it.
        """
        async with self._changing:
            catalog = self._engine.catalog
            versions = catalog.versions(name)
            if not versions:
                loaded = ", ".join(dict.fromkeys(model.name for model in catalog))
                raise ModelNotFoundError(name, f"model '{name}' is not loaded; loaded are: {loaded}")
            if name in catalog.defaults.values():
                raise DefaultModelError(
                    f"model '{name}' is what calls that name no model mean, and their vectors must not change unasked: "
                    f"start the server with another --default-{versions[0].manifest.modality}-model"
                )
            self._unloaded.add(name)
            self._take_over([], versions)
            return versions

    async def poll(self, seconds: float) -> None:
        """Looks for new versions for ever, every so many seconds."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.look()
            except OSError as error:  # what was served goes on
                logger.error("model directory '%s' can't be read: %s", error.filename or self._root, error.strerror)

    async def look(self) -> None:
        """Has what is new in the repository take over. What can't be served is logged, and left alone until it changes.

        What disappears from the repository is served on, unless a lower version is there to take over.

        Raises:
            OSError: the repository can't be read.
        """
        async with self._changing:
            for name in await self._run(self._names):
                found = await self._run(self._find_sound, name)
                wanted = found[-self._count :]
                served = [model.version for model in self._engine.catalog.versions(name)]
                if wanted and [path.name for path in wanted] != served:
                    try:
                        await self._serve(name, wanted)
                    except ModelLoadError as error:
                        logger.error("%s", error)

    def stop(self) -> None:
        """Begins no more changes."""
        self._stopped = True
        self._thread.shutdown(wait=False)

    def _names(self) -> list[str]:
        names = [entry.name for entry in self._root.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
        return sorted(name for name in names if name not in self._unloaded)

    def _find(self, name: str, pin: int | None) -> list[Path]:
        # A name is one directory, and none outside of the repository.
        if Path(name).name != name or name.startswith(".") or not (self._root / name).is_dir():
            return []
        return find_versions(self._root, name, pin)

    def _find_sound(self, name: str) -> list[Path]:
        return [path for path in self._find(name, self._pins.get(name)) if self._broken.get(path) != _look_of(path)]

    async def _serve(self, name: str, directories: Sequence[Path]) -> None:
        """Has exactly these versions of a model served."""
        before = {model.version: model for model in self._engine.catalog.versions(name)}
        added = [await self._prepare(path) for path in directories if path.name not in before]
        wanted = {path.name for path in directories}
        self._take_over(added, [model for version, model in before.items() if version not in wanted])

    async def _prepare(self, directory: Path) -> Served:
        look = await self._run(_look_of, directory)
        try:
            served = await self._run(self._open_and_prepare, directory)
        except LoadingStoppedError as error:
            raise NotReadyError(_STOPPED) from error
        except Exception as error:  # whatever is wrong with it is no reason to disturb what serves
            self._broken[directory] = look
            where = f"{directory.parent.name}@{directory.name}"
            raise ModelLoadError(f"{where} can't be served, and what was served goes on: {error}") from error
        self._broken.pop(directory, None)
        return served

    def _open_and_prepare(self, directory: Path) -> Served:
        model = self._loader.open(directory)
        for other in self._engine.catalog.versions(model.name):
            if other.manifest.modality != model.manifest.modality:
                raise ModelLoadError(f"it embeds {model.manifest.modality}s, and {other.reference} does not")
        # It takes its memory as it serves: to have it now would take the cores from calls for most of the time.
        return self._loader.prepare(model, self._engine)

    def _take_over(self, added: Sequence[Served], removed: Sequence[AnyModel]) -> None:
        """Has calls find other models from this moment on."""
        for served in added:
            self._engine.open(served)
        catalog = self._engine.catalog
        kept = [model for model in catalog if model not in removed]
        self._engine.replace_catalog(Catalog([*kept, *(served.model for served in added)], catalog.defaults))
        for served in added:
            logger.info("%s takes over", served.model.reference)
        for model in removed:
            task = asyncio.create_task(self._retire(model), name=f"retire {model.reference}")
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    async def _retire(self, model: AnyModel) -> None:
        reference = model.reference
        await self._engine.retire(model)
        logger.info("unloaded %s", reference)
        del model
        if not self._stopped:
            self._thread.submit(return_memory)

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._stopped:
            raise NotReadyError(_STOPPED)
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(work, *args, **kwargs))


def _look_of(directory: Path) -> _Look:
    """Tells whether a version is still as it was."""
    try:
        states = [(entry.name, entry.stat()) for entry in directory.iterdir()]
    except OSError:
        return ()
    return tuple(sorted((name, state.st_size, state.st_mtime_ns) for name, state in states))
