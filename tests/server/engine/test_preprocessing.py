import asyncio
import io
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from controlled import PATIENCE, Clock, GatedModel
from PIL import Image

from vecserve_server.engine.errors import ExpiredError
from vecserve_server.engine.preprocessing import Preprocessing
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.terms import Terms
from vecserve_server.models.inputs import (
    AnyTextInputs,
    ImageInputs,
    InvalidItemsError,
    Prepared,
    TextInputs,
    TokenInputs,
)
from vecserve_server.models.model import ImageModel

TEXTS = TextInputs([])
BULK, INTERACTIVE = Terms(priority=Priority.BULK), Terms(priority=Priority.INTERACTIVE)


class Tokenizing(GatedModel):
    """Tells on which thread each text was tokenized; bulk texts wait at the gate, and others pass."""

    def __init__(self, artifact: Path) -> None:
        super().__init__(artifact)
        self.threads: dict[str, str] = {}

    def prepare_all(self, calls: Sequence[AnyTextInputs]) -> list[Prepared]:
        (inputs,) = calls
        assert isinstance(inputs, TextInputs)
        thread = threading.current_thread().name
        self.threads |= dict.fromkeys(inputs.texts, thread)
        return super().prepare_all(calls) if "bulk" in thread else self._preprocessor.prepare_all([inputs])


@pytest.fixture
def tokenizing(text_artifact: Path) -> Iterator[Tokenizing]:
    model = Tokenizing(text_artifact)
    yield model
    model.preparing.open()


@pytest.fixture
def preprocessing(clock: Clock) -> Iterator[Preprocessing]:
    """One thread for each modality and priority."""
    preprocessing = Preprocessing(1, clock)
    yield preprocessing
    preprocessing.stop()


@pytest.fixture
def image() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (20, 30)).save(file, "PNG")
    return file.getvalue()


async def test_items_come_in_the_order_of_the_inputs(preprocessing: Preprocessing, tokenizing: Tokenizing) -> None:
    texts = ["the cat", "mat", *["cat " * count for count in range(1, 50)]]

    items = await preprocessing.prepare(tokenizing, TextInputs(texts), 100, INTERACTIVE)

    assert [item.token_count for item in items] == [4, 3, *range(3, 52)]


async def test_nothing_is_predicted_before_something_was_seen(
    preprocessing: Preprocessing, tokenizing: Tokenizing
) -> None:
    assert preprocessing.seconds(tokenizing, TEXTS, 1000) == 0


async def test_seconds_are_predicted_from_those_before(
    preprocessing: Preprocessing, tokenizing: Tokenizing, image_model: ImageModel, clock: Clock
) -> None:
    tokenizing.preparing.close()
    call = asyncio.create_task(preprocessing.prepare(tokenizing, TextInputs(["cat"]), 4, BULK))
    await tokenizing.preparing.reached()
    clock.now += 2
    tokenizing.preparing.open()
    await call

    assert preprocessing.seconds(tokenizing, TEXTS, 6) == pytest.approx(3.0)
    assert preprocessing.seconds(image_model, ImageInputs([]), 6) == 0


async def test_what_one_kind_of_input_takes_is_not_predicted_of_another(
    preprocessing: Preprocessing, tokenizing: Tokenizing, clock: Clock
) -> None:
    tokenizing.preparing.close()
    call = asyncio.create_task(preprocessing.prepare(tokenizing, TextInputs(["cat"]), 4, BULK))
    await tokenizing.preparing.reached()
    clock.now += 2
    tokenizing.preparing.open()
    await call

    tokens = np.ones((1, 4), np.int64)
    assert preprocessing.seconds(tokenizing, TokenInputs(tokens, tokens), 4) == 0


@pytest.mark.parametrize("texts", [["cat"], [""]], ids=["expired", "refused"])
async def test_calls_that_were_not_preprocessed_to_their_end_teach_nothing(
    preprocessing: Preprocessing, tokenizing: Tokenizing, clock: Clock, texts: list[str]
) -> None:
    tokenizing.preparing.close()
    call = asyncio.create_task(preprocessing.prepare(tokenizing, TextInputs(["cat"]), 4, BULK))
    await tokenizing.preparing.reached()
    clock.now += 2
    tokenizing.preparing.open()
    await call

    with pytest.raises((ExpiredError, InvalidItemsError)):
        await preprocessing.prepare(tokenizing, TextInputs(texts), 1000, Terms(clock() if texts[0] else clock() + 1))

    assert preprocessing.seconds(tokenizing, TEXTS, 4) == pytest.approx(2.0)


async def test_interactive_texts_and_images_do_not_queue_behind_bulk_texts(
    preprocessing: Preprocessing, tokenizing: Tokenizing, image_model: ImageModel, image: bytes
) -> None:
    tokenizing.preparing.close()
    bulk = asyncio.create_task(preprocessing.prepare(tokenizing, TextInputs(["cat"]), 4, BULK))
    await tokenizing.preparing.reached()

    async with asyncio.timeout(PATIENCE):
        await preprocessing.prepare(tokenizing, TextInputs(["mat"]), 4, INTERACTIVE)
        await preprocessing.prepare(image_model, ImageInputs([image]), 1, BULK)

    tokenizing.preparing.open()
    await bulk
    assert tokenizing.threads == {"cat": "prepare-text-bulk_0", "mat": "prepare-text-interactive_0"}


async def test_a_cancelled_call_is_preprocessed_no_further(
    preprocessing: Preprocessing, tokenizing: Tokenizing
) -> None:
    tokenizing.preparing.close()
    cancelled = asyncio.create_task(preprocessing.prepare(tokenizing, TextInputs(["cat"] * 100), 300, BULK))
    await tokenizing.preparing.reached()

    cancelled.cancel()
    await asyncio.wait([cancelled])
    tokenizing.preparing.open()
    await preprocessing.prepare(tokenizing, TextInputs(["mat"]), 3, BULK)  # behind it, on the same thread

    assert tokenizing.prepared == [16, 1]
