"""The models that are loaded, and which of them a call means."""

from collections.abc import Iterable, Mapping

from vecserve_server.engine.errors import ModelNotFoundError, Violation, WrongModalityError
from vecserve_server.models.model import AnyModel, ImageModel, TextModel


class Catalog:
    """Models by name, ordered, with a default for each modality."""

    def __init__(self, models: Iterable[AnyModel] = (), defaults: Mapping[str, str | None] | None = None) -> None:
        """Takes loaded models, and the name of the default one by modality.

        Without a name, the first model of the modality is its default.

        Raises:
            ModelNotFoundError, WrongModalityError: a default names no model of its modality.
        """
        self._models = {model.name: model for model in sorted(models, key=lambda model: model.name)}
        self._defaults: dict[str, str] = {}
        for model in self:
            self._defaults.setdefault(model.manifest.modality, model.name)
        for modality, name in (defaults or {}).items():
            if name is not None:
                self._defaults[modality] = self._resolve(name, modality).name

    def __iter__(self):
        return iter(self._models.values())

    def get(self, name: str) -> AnyModel:
        """The model of that name.

        Raises:
            ModelNotFoundError: there is none.
        """
        try:
            return self._models[name]
        except KeyError:
            loaded = ", ".join(self._models) or "none"
            raise ModelNotFoundError(name, f"model '{name}' is not loaded; loaded are: {loaded}") from None

    def is_default(self, model: AnyModel) -> bool:
        """Whether calls of the model's modality that name no model mean this one."""
        return self._defaults[model.manifest.modality] == model.name

    def text_model(self, name: str) -> TextModel:
        """The text model of that name, or the default one if it is empty.

        Raises:
            ModelNotFoundError, WrongModalityError: there is none, or it embeds something else.
        """
        model = self._resolve(name, "text")
        assert isinstance(model, TextModel)
        return model

    def image_model(self, name: str) -> ImageModel:
        """As `text_model`, for images."""
        model = self._resolve(name, "image")
        assert isinstance(model, ImageModel)
        return model

    def _resolve(self, name: str, modality: str) -> AnyModel:
        if not name and modality not in self._defaults:
            raise ModelNotFoundError(
                name, f"no {modality} model is loaded; loaded are: {', '.join(self._models) or 'none'}"
            )
        model = self.get(name or self._defaults[modality])
        if model.manifest.modality != modality:
            description = f"is '{name}', a model of {model.manifest.modality}s, and {modality}s are to be embedded"
            raise WrongModalityError([Violation("model", description)])
        return model
