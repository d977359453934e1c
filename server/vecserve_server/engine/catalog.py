"""The models that are loaded, and which of them a call means."""

from collections.abc import Iterable, Iterator, Mapping

from vecserve_server.engine.errors import ModelNotFoundError, Violation, WrongModalityError
from vecserve_server.models.model import AnyModel, ImageModel, TextModel


class Catalog:
    """Models by name, ordered, with a default for each modality. Of a name there may be several versions.

    It never changes: other models make another catalog.
    """

    def __init__(self, models: Iterable[AnyModel] = (), defaults: Mapping[str, str | None] | None = None) -> None:
        """Takes loaded models, and the name of the default one by modality.

        Without a name, the first model of the modality is its default.

        Raises:
            ModelNotFoundError, WrongModalityError: a default names no model of its modality.
        """
        self._models = sorted(models, key=place)
        # The highest version of a name comes last. A name is what its directory says, and may have an @ in it.
        self._references = {model.reference: model for model in self} | {model.name: model for model in self}
        self._defaults: dict[str, str] = {}
        for model in self:
            self._defaults.setdefault(model.manifest.modality, model.name)
        for modality, name in (defaults or {}).items():
            if name is not None:
                self._defaults[modality] = self._resolve(name, modality).name

    def __iter__(self) -> Iterator[AnyModel]:
        return iter(self._models)

    @property
    def defaults(self) -> Mapping[str, str]:
        """Names of the default models by modality."""
        return self._defaults

    def get(self, reference: str) -> AnyModel:
        """The model of that name, in its highest version; or of that name and version, `name@version`.

        Raises:
            ModelNotFoundError: there is none.
        """
        try:
            return self._references[reference]
        except KeyError:
            raise ModelNotFoundError(reference, self._missing(reference)) from None

    def version(self, name: str, version: str) -> AnyModel:
        """The model of that name in that version, or in the highest if it is empty; as `get`."""
        return self.get(f"{name}@{version}" if version else name)

    def versions(self, name: str) -> list[AnyModel]:
        """Every version of that name, the highest last."""
        return [model for model in self if model.name == name]

    def is_default(self, model: AnyModel) -> bool:
        """Whether calls of the model's modality that name no model mean this one."""
        return self._references[self._defaults[model.manifest.modality]] is model

    def text_model(self, reference: str) -> TextModel:
        """The text model of that name, `name` or `name@version`, or the default one if it is empty.

        Raises:
            ModelNotFoundError, WrongModalityError: there is none, or it embeds something else.
        """
        model = self._resolve(reference, "text")
        assert isinstance(model, TextModel)
        return model

    def image_model(self, reference: str) -> ImageModel:
        """As `text_model`, for images."""
        model = self._resolve(reference, "image")
        assert isinstance(model, ImageModel)
        return model

    def _resolve(self, reference: str, modality: str) -> AnyModel:
        if not reference and modality not in self._defaults:
            raise ModelNotFoundError(reference, f"no {modality} model is loaded; loaded are: {self._names()}")
        model = self.get(reference or self._defaults[modality])
        if model.manifest.modality != modality:
            description = f"is '{reference}', a model of {model.manifest.modality}s, and {modality}s are to be embedded"
            raise WrongModalityError([Violation("model", description)])
        return model

    def _missing(self, reference: str) -> str:
        name, _, version = reference.rpartition("@")
        if found := self.versions(name):
            loaded = ", ".join(f"'{model.version}'" for model in found)
            return f"model '{name}' is loaded in version {loaded}, not '{version}'"
        return f"model '{reference}' is not loaded; loaded are: {self._names()}"

    def _names(self) -> str:
        return ", ".join(dict.fromkeys(model.name for model in self)) or "none"


def place(model: AnyModel) -> tuple[str, int]:
    """Where a model stands among others: by name, then by version."""
    return model.name, int(model.version)
