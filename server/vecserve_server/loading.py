"""From a configuration to loaded models, and to an engine that serves them."""

import logging
from collections.abc import Callable
from pathlib import Path

from vecserve_server.config import ServerConfig
from vecserve_server.cores import available_cores
from vecserve_server.engine.catalog import Catalog
from vecserve_server.engine.engine import Engine
from vecserve_server.engine.errors import ModelNotFoundError, WrongModalityError
from vecserve_server.engine.observer import Observer
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.served import Served, prepare, take_memory
from vecserve_server.models.model import AnyModel, open_artifact
from vecserve_server.models.providers.processor import cpu_flags, int8_saturates
from vecserve_server.models.repository import find_artifacts

logger = logging.getLogger(__name__)


class SettingError(Exception):
    """A setting does not fit the models that were found."""


class LoadingStoppedError(Exception):
    """Nobody wants the models any more."""


class Loader:
    """Loads models as a configuration says. Its methods take seconds: call them on threads."""

    def __init__(self, config: ServerConfig, stopped: Callable[[], bool] = lambda: False) -> None:
        """`stopped` is asked between any two steps whether to go on."""
        cores = available_cores()
        self.settings = config.engine_settings(cores)
        self._options = config.session_options(cores)
        self._limits = config.input_limits
        self._stopped = stopped

    def open(self, directory: Path) -> AnyModel:
        """Loads one version of a model, and says what it is.

        Raises:
            ArtifactError, ProviderError: it can't be.
            LoadingStoppedError: it was stopped.
        """
        self._go_on()
        model = open_artifact(directory, self._options, self._limits)
        _announce(model)
        return model

    def prepare(self, model: AnyModel, engine: Engine) -> Served:
        """Warms it up, checks what it computes, and measures it.

        Raises:
            ArtifactError: its graph fails, or computes what is not a number.
            LoadingStoppedError: it was stopped.
        """
        self._go_on()
        served = prepare(model, self.settings, engine.clock)
        lane = served.lanes[Priority.INTERACTIVE]
        logger.info(
            "measured %s: %.2f ms a batch and %.3f ms a unit; batches are full at %d",
            *(model.reference, lane.cost.fixed * 1e3, lane.cost.per_unit * 1e3, lane.policy.full),
        )
        return served

    def take_memory(self, served: Served) -> None:
        """Takes the memory that its busiest moment will need.

        Raises:
            LoadingStoppedError: it was stopped.
        """
        self._go_on()
        take_memory(served, self.settings.instances)

    def announce(self) -> None:
        """Says what models run on."""
        alone = max(self._options.intra_op_threads, self._options.alone_threads)
        logger.info(
            "%d instances of %d threads; a batch that runs alone has %d",
            *(self.settings.instances, self._options.intra_op_threads, alone),
        )

    def _go_on(self) -> None:
        if self._stopped():
            raise LoadingStoppedError


def load_engine(config: ServerConfig, observer: Observer | None = None, loader: Loader | None = None) -> Engine:
    """Loads every model and warms it up, which takes seconds.

    Raises:
        ArtifactError: an artifact is missing or unsound.
        ProviderError: the execution provider did not load.
        SettingError: a default names no model of its modality, or a pin or weight no model.
        LoadingStoppedError: the loader was stopped.
    """
    loader = loader or Loader(config)
    directories = find_artifacts(config.models, config.model_versions, config.pin)
    _check_names("--pin", list(config.pin), [directory.parent.name for directory in directories])
    models = [loader.open(directory) for directory in directories]
    catalog = _catalog(models, config)
    _check_names("--model-weights", list(config.model_weights), [model.name for model in models])
    engine = Engine(Catalog(), loader.settings, observer=observer)
    for model in catalog:
        served = loader.prepare(model, engine)
        loader.take_memory(served)
        engine.open(served)
    engine.replace_catalog(catalog)
    loader.announce()
    return engine


def _catalog(models: list[AnyModel], config: ServerConfig) -> Catalog:
    defaults = {"text": config.default_text_model, "image": config.default_image_model}
    try:
        return Catalog(models, defaults)
    except (ModelNotFoundError, WrongModalityError) as error:
        flags = ", ".join(f"--default-{modality}-model {name}" for modality, name in defaults.items() if name)
        raise SettingError(f"{flags}: {error}") from error


def _check_names(flag: str, named: list[str], names: list[str]) -> None:
    if unknown := [name for name in named if name not in names]:
        loaded = ", ".join(dict.fromkeys(names))
        raise SettingError(f"{flag} names {', '.join(unknown)}, and loaded are: {loaded}")


def _announce(model: AnyModel) -> None:
    manifest = model.manifest
    altered = "" if model.computed_in == manifest.precision else f" computed in {model.computed_in}"
    logger.info(
        "loaded %s: %s, %d dimensions, %s%s, from %s, on %s",
        *(model.reference, manifest.modality, manifest.dimensionality, manifest.precision, altered),
        *(manifest.source.uri, model.execution_provider),
    )
    if manifest.source.random:
        logger.warning("%s has random weights (%s): its vectors mean nothing", model.name, manifest.source.uri)
    if manifest.precision == "int8" and int8_saturates(cpu_flags()):
        logger.warning(
            "%s is int8, and this CPU has no VNNI: sums may saturate, and vectors be less true than its manifest says",
            model.name,
        )
