import hashlib
import io
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer

from vecserve_export import probes
from vecserve_export.fidelity import similarities
from vecserve_export.pictures import FAMILIES
from vecserve_server.models.inputs import InputLimits, TextInputs
from vecserve_server.models.model import open_artifact
from vecserve_server.models.session import SessionOptions

TOPICS, TEXTS_OF_A_TOPIC = 16, 16


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    return [Image.open(io.BytesIO(image)) for image in probes.images()]


def test_the_texts_are_those_that_their_name_stands_for() -> None:
    # Figures of one probe set are compared with each other: whoever changes a probe changes the name.
    digest = hashlib.sha256("\0".join(probes.texts()).encode()).hexdigest()
    assert (probes.PROBE_SETS["text"], digest[:16]) == ("texts-1", "1a1b55999f31b6ab")


def test_the_pictures_are_those_that_their_name_stands_for(pictures: list[Image.Image]) -> None:
    # Not by a digest: a last bit in NumPy, or another zlib under Pillow, makes no other picture.
    levels = [float(np.asarray(picture).mean()) for picture in pictures[:: len(pictures) // len(FAMILIES)]]
    assert (probes.PROBE_SETS["image"], len(pictures)) == ("images-1", 64)
    assert levels == pytest.approx([128.5, 134.7, 75.4, 100.0, 146.2, 112.4, 146.2, 127.5], abs=0.1)
    assert {(picture.size, picture.mode) for picture in pictures} == {((320, 240), "RGB")}


def test_texts_differ_and_most_are_as_long_as_a_sentence(example_models: Path) -> None:
    tokenizer = Tokenizer.from_file(str(example_models / "all-minilm-l6-v2" / "1" / "tokenizer.json"))
    texts = probes.texts()
    lengths = np.array([len(encoding) for encoding in tokenizer.encode_batch(list(texts))])
    assert len(set(texts)) == len(texts) == TOPICS * TEXTS_OF_A_TOPIC
    assert (lengths.min(), lengths.max()) == (3, 230)
    assert np.mean((lengths >= 8) & (lengths <= 40)) > 0.8


def test_the_nearest_of_most_texts_is_on_their_topic(example_models: Path) -> None:
    vectors = embedded(example_models / "all-minilm-l6-v2" / "1", TextInputs(probes.texts()))
    assert share_with_kin(vectors, TEXTS_OF_A_TOPIC) > 0.6


def test_the_nearest_of_most_pictures_is_of_their_family(pictures: list[Image.Image]) -> None:
    thumbnails = [np.asarray(picture.resize((8, 6), Image.Resampling.BOX), np.float32) for picture in pictures]
    vectors = np.stack(thumbnails).reshape(len(pictures), -1)
    assert share_with_kin(vectors - vectors.mean(axis=0), len(pictures) // len(FAMILIES)) > 0.75


def embedded(directory: Path, inputs: Any) -> NDArray[np.float32]:
    model = cast(Any, open_artifact(directory, SessionOptions(), InputLimits()))
    return np.concatenate([model.run([item.payload]) for item in model.prepare(inputs)])


def share_with_kin(vectors: NDArray[np.float32], group: int) -> float:
    """How often the vector most similar to one stands in its group, which are equally large and in order."""
    between = similarities(vectors)
    np.fill_diagonal(between, -1)
    groups = np.arange(len(vectors)) // group
    return float(np.mean(groups[between.argmax(axis=1)] == groups))
