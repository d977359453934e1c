"""From a configuration to an engine with its models loaded."""

import logging

from vecserve_server.config import ServerConfig
from vecserve_server.cores import available_cores
from vecserve_server.engine.catalog import Catalog
from vecserve_server.engine.engine import Engine
from vecserve_server.models.model import AnyModel, open_artifact
from vecserve_server.models.repository import find_artifacts

logger = logging.getLogger(__name__)


def load_engine(config: ServerConfig) -> Engine:
    """Loads every model and warms it up, which takes seconds.

    Raises:
        ArtifactError, ProviderError, ModelNotFoundError, WrongModalityError: as the parts do.
    """
    models = [
        open_artifact(directory, config.session_options, config.input_limits)
        for directory in find_artifacts(config.models)
    ]
    for model in models:
        _announce(model)
    defaults = {"text": config.default_text_model, "image": config.default_image_model}
    settings = config.engine_settings(available_cores())
    engine = Engine(Catalog(models, defaults), settings)
    logger.info("warmed up; %d instances of %d threads", settings.instances, config.intra_op_threads)
    return engine


def _announce(model: AnyModel) -> None:
    manifest = model.manifest
    logger.info(
        "loaded %s@%s: %s, %d dimensions, %s, from %s, on %s",
        *(model.name, model.version, manifest.modality, manifest.dimensionality, manifest.precision),
        *(manifest.source.uri, model.execution_provider),
    )
    if manifest.source.random:
        logger.warning("%s has random weights (%s): its vectors mean nothing", model.name, manifest.source.uri)
