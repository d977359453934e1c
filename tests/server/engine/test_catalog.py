from pathlib import Path

import pytest

from vecserve_server.engine.catalog import Catalog
from vecserve_server.engine.errors import ModelNotFoundError, WrongModalityError
from vecserve_server.models.inputs import InputLimits
from vecserve_server.models.model import AnyModel, ImageModel, TextModel, open_artifact
from vecserve_server.models.session import SessionOptions


@pytest.fixture
def other_text_model(text_model: TextModel, request: pytest.FixtureRequest) -> TextModel:
    """The tiny text model under a name that sorts before its own."""
    model = open_artifact(request.getfixturevalue("text_artifact"), SessionOptions(), InputLimits())
    assert isinstance(model, TextModel)
    model.name = "another-text"
    return model


@pytest.fixture
def catalog(text_model: TextModel, image_model: ImageModel, other_text_model: TextModel) -> Catalog:
    return Catalog([text_model, image_model, other_text_model])


def test_models_are_listed_by_name(catalog: Catalog) -> None:
    assert [model.name for model in catalog] == ["another-text", "tiny-image", "tiny-text"]


def test_a_model_is_found_by_its_name(catalog: Catalog, text_model: TextModel, image_model: ImageModel) -> None:
    assert catalog.get("tiny-text") is text_model
    assert catalog.text_model("tiny-text") is text_model
    assert catalog.image_model("tiny-image") is image_model


def test_no_name_means_the_first_of_the_modality(catalog: Catalog, image_model: ImageModel) -> None:
    assert catalog.text_model("").name == "another-text"
    assert catalog.image_model("") is image_model


def test_a_default_that_was_set_is_meant_instead(
    text_model: TextModel, other_text_model: TextModel, image_model: ImageModel
) -> None:
    models = [text_model, other_text_model, image_model]
    catalog = Catalog(models, {"text": "tiny-text", "image": None})

    assert catalog.text_model("") is text_model
    assert [catalog.is_default(model) for model in models] == [True, False, True]


def test_an_unknown_name_is_refused_with_the_names_there_are(catalog: Catalog) -> None:
    message = "model 'bert' is not loaded; loaded are: another-text, tiny-image, tiny-text"
    for find in (catalog.get, catalog.text_model, catalog.image_model):
        with pytest.raises(ModelNotFoundError, match=message) as refusal:
            find("bert")
        assert refusal.value.name == "bert"


def test_a_model_of_the_other_modality_is_refused(catalog: Catalog) -> None:
    with pytest.raises(WrongModalityError) as refusal:
        catalog.text_model("tiny-image")

    (violation,) = refusal.value.violations
    assert violation.field == "model"
    assert violation.description == "is 'tiny-image', a model of images, and texts are to be embedded"


def test_a_modality_without_models_is_refused(text_model: TextModel) -> None:
    with pytest.raises(ModelNotFoundError, match="no image model is loaded; loaded are: tiny-text"):
        Catalog([text_model]).image_model("")
    with pytest.raises(ModelNotFoundError, match="no text model is loaded; loaded are: none"):
        Catalog().text_model("")


@pytest.mark.parametrize(("default", "error"), [("bert", ModelNotFoundError), ("tiny-image", WrongModalityError)])
def test_a_default_that_does_not_fit_is_refused(
    default: str, error: type[Exception], text_model: TextModel, image_model: ImageModel
) -> None:
    with pytest.raises(error, match=default):
        Catalog([text_model, image_model], {"text": default})


@pytest.fixture
def versions(text_artifact: Path) -> list[AnyModel]:
    """Three versions of the text model, the highest not last."""
    models: list[AnyModel] = []
    for version in ("2", "10", "1"):
        model = open_artifact(text_artifact, SessionOptions(), InputLimits())
        model.version = version
        models.append(model)
    return models


def test_a_name_means_its_highest_version(versions: list[AnyModel]) -> None:
    catalog = Catalog(versions)

    assert catalog.get("tiny-text").version == "10"
    assert catalog.text_model("").version == "10"
    assert [catalog.is_default(model) for model in versions] == [False, True, False]
    assert [model.version for model in catalog.versions("tiny-text")] == ["1", "2", "10"]


@pytest.mark.parametrize("version", ["1", "2", "10"])
def test_a_version_can_be_named(versions: list[AnyModel], version: str) -> None:
    catalog = Catalog(versions)

    assert catalog.text_model(f"tiny-text@{version}").version == version
    assert catalog.version("tiny-text", version).version == version


def test_a_version_that_is_not_loaded_is_refused_with_those_that_are(versions: list[AnyModel]) -> None:
    with pytest.raises(ModelNotFoundError, match="model 'tiny-text' is loaded in version '1', '2', '10', not '3'"):
        Catalog(versions).get("tiny-text@3")


def test_a_name_with_an_at_is_a_name(versions: list[AnyModel]) -> None:
    versions[0].name = "tiny-text@10"
    catalog = Catalog(versions)

    assert catalog.get("tiny-text@10") is versions[0]
    assert catalog.get("tiny-text@10@2") is versions[0]
