import itertools
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from vecserve_server.config import ServerConfig
from vecserve_server.engine.observer import Observer
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.scheduler import Batch
from vecserve_server.engine.terms import Terms
from vecserve_server.loading import Loader, LoadingStoppedError, SettingError, load_engine
from vecserve_server.models.inputs import TextInputs
from vecserve_server.models.manifest import MANIFEST_FILE, ArtifactError, Manifest, Source


@pytest.fixture
def config(models_dir: Path) -> ServerConfig:
    return ServerConfig(models=models_dir, instances=1)


async def test_every_model_of_the_directory_is_loaded(config: ServerConfig) -> None:
    engine = load_engine(config)

    assert [(model.name, model.version) for model in engine.catalog] == [("tiny-image", "1"), ("tiny-text", "1")]


def test_each_model_is_announced_with_what_it_is(config: ServerConfig, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        load_engine(config)

    assert "loaded tiny-text@1: text, 8 dimensions, fp32, from random:0, on CPUExecutionProvider" in caplog.messages
    assert "loaded tiny-image@1: image, 3 dimensions, fp32, from random:0, on CPUExecutionProvider" in caplog.messages


@pytest.mark.parametrize("random", [True, False])
def test_random_weights_are_warned_about_and_trained_ones_are_not(
    random: bool,
    image_artifact: Path,
    tmp_path: Path,
    manifest_of: Callable[..., Manifest],
    caplog: pytest.LogCaptureFixture,
) -> None:
    directory = tmp_path / "pictures" / "1"
    directory.mkdir(parents=True)
    (directory / "model.onnx").write_bytes((image_artifact / "model.onnx").read_bytes())
    digest = Manifest.read(image_artifact).graph_digest
    manifest = manifest_of(graph_digest=digest, source=Source(uri="somewhere", digest=None, random=random))
    (directory / MANIFEST_FILE).write_text(manifest.model_dump_json())

    load_engine(ServerConfig(models=tmp_path, instances=1))

    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == (["pictures has random weights (somewhere): its vectors mean nothing"] if random else [])


def test_the_default_models_are_those_that_were_set(config: ServerConfig) -> None:
    engine = load_engine(config.model_copy(update={"default_text_model": "tiny-text"}))

    assert engine.catalog.text_model("").name == "tiny-text"


@pytest.mark.parametrize(
    ("setting", "name", "said"),
    [
        ("default_text_model", "bert", "--default-text-model bert: model 'bert' is not loaded"),
        (
            "default_text_model",
            "tiny-image",
            "--default-text-model tiny-image: model is 'tiny-image', a model of images",
        ),
        ("default_image_model", "tiny-text", "--default-image-model tiny-text: model is 'tiny-text', a model of texts"),
    ],
)
def test_a_default_that_does_not_fit_is_refused_by_its_flag(
    config: ServerConfig, setting: str, name: str, said: str
) -> None:
    with pytest.raises(SettingError, match=said):
        load_engine(config.model_copy(update={setting: name}))


async def test_weights_reach_the_lanes_of_their_models(config: ServerConfig) -> None:
    engine = load_engine(config.model_copy(update={"model_weights": {"tiny-text": 3.0}}))

    for model, weight in zip(engine.catalog, (1.0, 3.0), strict=True):
        assert {priority: lane.weight for priority, lane in engine.served(model).lanes.items()} == {
            Priority.INTERACTIVE: weight,
            Priority.BULK: weight,
        }


def test_a_pin_of_a_model_that_is_not_there_is_refused_with_those_that_are(config: ServerConfig) -> None:
    with pytest.raises(SettingError, match="--pin names bert, and loaded are: tiny-image, tiny-text"):
        load_engine(config.model_copy(update={"pin": {"bert": 1}}))


@pytest.mark.parametrize("steps", range(5))
def test_loading_ends_before_the_next_step_when_it_is_stopped(config: ServerConfig, steps: int) -> None:
    answers = itertools.chain([False] * steps, itertools.repeat(True))

    with pytest.raises(LoadingStoppedError):
        load_engine(config, loader=Loader(config, lambda: next(answers)))


def test_a_weight_of_a_model_that_is_not_there_is_refused_with_those_that_are(config: ServerConfig) -> None:
    with pytest.raises(SettingError, match="--model-weights names bert, and loaded are: tiny-image, tiny-text"):
        load_engine(config.model_copy(update={"model_weights": {"tiny-text": 2.0, "bert": 1.0}}))


async def test_what_was_measured_is_told(config: ServerConfig, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        load_engine(config)

    assert [message.split(":")[0] for message in caplog.messages if "batches are full at" in message] == [
        "measured tiny-image@1",
        "measured tiny-text@1",
    ]


async def test_the_engine_tells_the_observer_of_its_batches(config: ServerConfig) -> None:
    class Ran(Observer):
        def __init__(self) -> None:
            self.models: list[str] = []

        def ran(self, batch: Batch, seconds: float, late: int, *, failed: bool) -> None:
            self.models.append(batch.model)

    engine = load_engine(config, observer := Ran())
    engine.start()

    await engine.embed_texts(engine.catalog.text_model(""), TextInputs(["the cat"]), Terms())
    await engine.stop()

    assert observer.models == ["tiny-text"]


def test_a_directory_without_models_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=str(tmp_path)):
        load_engine(ServerConfig(models=tmp_path))
