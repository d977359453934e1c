"""From a configuration to an engine with its models loaded."""

import logging

from vecserve_server.config import ServerConfig
from vecserve_server.cores import available_cores
from vecserve_server.engine.catalog import Catalog
from vecserve_server.engine.engine import Engine
from vecserve_server.engine.errors import ModelNotFoundError, WrongModalityError
from vecserve_server.engine.observer import Observer
from vecserve_server.engine.priority import Priority
from vecserve_server.models.model import AnyModel, open_artifact
from vecserve_server.models.providers.processor import cpu_flags, int8_saturates
from vecserve_server.models.repository import find_artifacts

logger = logging.getLogger(__name__)


class SettingError(Exception):
    """A setting does not fit the models that were found."""


def load_engine(config: ServerConfig, observer: Observer | None = None) -> Engine:
    """Loads every model and warms it up, which takes seconds.

    Raises:
        ArtifactError: an artifact is missing or unsound.
        ProviderError: the execution provider did not load.
        SettingError: a default names no model of its modality, or a weight no model.
    """
    cores = available_cores()
    options = config.session_options(cores)
    models = [open_artifact(directory, options, config.input_limits) for directory in find_artifacts(config.models)]
    for model in models:
        _announce(model)
    _check_weights(models, config)
    settings = config.engine_settings(cores)
    engine = Engine(_catalog(models, config), settings, observer=observer)
    engine.grow()
    logger.info("%d instances of %d threads", settings.instances, config.intra_op_threads)
    for model in engine.catalog:
        lane = engine.lanes[model.name, Priority.INTERACTIVE]
        logger.info(
            "measured %s: %.2f ms a batch and %.3f ms a unit; batches are full at %d",
            *(model.name, lane.cost.fixed * 1e3, lane.cost.per_unit * 1e3, lane.policy.full),
        )
    return engine


def _catalog(models: list[AnyModel], config: ServerConfig) -> Catalog:
    defaults = {"text": config.default_text_model, "image": config.default_image_model}
    try:
        return Catalog(models, defaults)
    except (ModelNotFoundError, WrongModalityError) as error:
        flags = ", ".join(f"--default-{modality}-model {name}" for modality, name in defaults.items() if name)
        raise SettingError(f"{flags}: {error}") from error


def _check_weights(models: list[AnyModel], config: ServerConfig) -> None:
    names = [model.name for model in models]
    if unknown := [name for name in config.model_weights if name not in names]:
        raise SettingError(f"--model-weights names {', '.join(unknown)}, and loaded are: {', '.join(names)}")


def _announce(model: AnyModel) -> None:
    manifest = model.manifest
    altered = "" if model.computed_in == manifest.precision else f" computed in {model.computed_in}"
    logger.info(
        "loaded %s@%s: %s, %d dimensions, %s%s, from %s, on %s",
        *(model.name, model.version, manifest.modality, manifest.dimensionality, manifest.precision, altered),
        *(manifest.source.uri, model.execution_provider),
    )
    if manifest.source.random:
        logger.warning("%s has random weights (%s): its vectors mean nothing", model.name, manifest.source.uri)
    if manifest.precision == "int8" and int8_saturates(cpu_flags()):
        logger.warning(
            "%s is int8, and this CPU has no VNNI: sums may saturate, and vectors be less true than its manifest says",
            model.name,
        )
