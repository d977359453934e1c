import asyncio
import io
from collections.abc import Sequence

import numpy as np
import pytest
from controlled import MUCH, Begin, Clock, GatedModel
from numpy.typing import NDArray
from PIL import Image

from vecserve_server.engine.engine import Embeddings, Engine
from vecserve_server.engine.errors import ExpiredError, InferenceFailedError, InvalidInputError
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.terms import Terms
from vecserve_server.models.inputs import ImageInputs, InvalidItemsError, PixelInputs, TextInputs, TokenInputs
from vecserve_server.models.model import ImageModel, TextModel

LONG = " ".join(["cat"] * 62)
"""Fills the model's 64 tokens."""


def alone(model: TextModel, text: str) -> NDArray[np.float32]:
    """The vector of a text that shares its batch with nothing."""
    (item,) = TextModel.prepare(model, TextInputs([text]))
    return TextModel.run(model, [item.payload])[0]


async def test_vectors_come_in_the_order_of_the_texts(engine: Engine, model: GatedModel) -> None:
    texts = ["the cat sat", "hello", LONG, "猫 кот", "mat"]

    result = await engine.embed_texts(model, TextInputs(texts), Terms())

    np.testing.assert_allclose(result.vectors, [alone(model, text) for text in texts], rtol=1e-5)
    assert [item.token_count for item in result.items] == [5, 3, 64, 4, 3]


async def test_vectors_are_normalized_where_the_terms_say_so(engine: Engine, model: GatedModel) -> None:
    texts = ["the cat sat", "hello", LONG]

    result = await engine.embed_texts(model, TextInputs(texts), Terms(normalized=True))

    vectors = np.array([alone(model, text) for text in texts])
    np.testing.assert_allclose(result.vectors, vectors / np.linalg.norm(vectors, axis=1)[:, np.newaxis], rtol=1e-5)


async def test_bulk_calls_are_embedded_by_the_same_way(engine: Engine, model: GatedModel) -> None:
    texts = ["the cat sat", "hello", LONG]

    result = await engine.embed_texts(model, TextInputs(texts), Terms(priority=Priority.BULK))

    np.testing.assert_allclose(result.vectors, [alone(model, text) for text in texts], rtol=1e-5)


async def test_images_are_embedded_by_the_same_way(engine: Engine, image_model: ImageModel) -> None:
    colours = [(1, 2, 3), (200, 100, 50), (0, 0, 0), (9, 9, 9), (255, 0, 255)]
    contents: list[bytes] = []
    for colour in colours:
        file = io.BytesIO()
        Image.new("RGB", (20, 30), colour).save(file, "PNG")
        contents.append(file.getvalue())

    result = await engine.embed_images(image_model, ImageInputs(contents), Terms())

    np.testing.assert_allclose(result.vectors, colours, atol=1e-4)


async def test_tokens_give_the_vectors_of_their_texts_to_the_bit(engine: Engine, model: GatedModel) -> None:
    texts = ["the cat sat", "hello world", LONG, *MUCH]
    graph_inputs = model.collate([item.payload for item in TextModel.prepare(model, TextInputs(texts))])
    tokens = TokenInputs(graph_inputs["input_ids"], graph_inputs["attention_mask"])

    for part in (slice(0, 2), slice(2, None)):  # on the event loop, and on a thread
        typed = await engine.embed_texts(model, TextInputs(texts[part]), Terms())
        brought = await engine.embed_texts(model, tokens.part(part), Terms())
        assert brought.vectors.tobytes() == typed.vectors.tobytes()
        assert [item.token_count for item in brought.items] == [item.token_count for item in typed.items]


@pytest.mark.parametrize("texts", [MUCH, ("cat " * 1000,)], ids=["many texts", "one of which little is read"])
async def test_what_takes_long_to_tokenize_keeps_nobody_waiting(
    begin: Begin, model: GatedModel, texts: Sequence[str]
) -> None:
    model.preparing.close()
    slow = await begin(*texts)
    await model.preparing.reached()

    assert (await (await begin("cat"))).vectors.shape == (1, 8)

    model.preparing.open()
    assert len((await slow).vectors) == len(texts)


async def test_interactive_calls_do_not_wait_until_much_bulk_work_is_tokenized(
    engine: Engine, model: GatedModel
) -> None:
    bulk = [engine.embed_texts(model, TextInputs(["cat " * 120]), Terms(priority=Priority.BULK)) for _ in range(40)]
    interactive = engine.embed_texts(model, TextInputs(["cat", "mat"]), Terms())

    await asyncio.gather(*bulk, interactive)

    assert model.prepared.index(2) <= 8, "more than one go of bulk work came before it"


async def test_tokens_that_can_not_be_embedded_are_named(engine: Engine, model: GatedModel) -> None:
    ids = np.array([[2, 7, 3]] * 40)
    ids[[3, 30], 1] = 10**9  # in different parts of what is preprocessed at once

    with pytest.raises(InvalidItemsError) as refusal:
        await engine.embed_texts(model, TokenInputs(ids, np.ones_like(ids)), Terms())

    assert sorted(refusal.value.problems) == [3, 30]


async def test_pixels_give_the_vectors_of_their_images(engine: Engine, image_model: ImageModel) -> None:
    colours = [(1, 2, 3), (200, 100, 50), (0, 0, 0)]
    pixels = np.broadcast_to(np.array(colours, np.uint8)[:, np.newaxis, np.newaxis], (3, 8, 8, 3))

    result = await engine.embed_images(image_model, PixelInputs(pixels), Terms())

    np.testing.assert_allclose(result.vectors, colours, atol=1e-4)


async def test_concurrent_calls_share_a_batch_and_get_their_own_vectors(
    engine: Engine, begin: Begin, model: GatedModel
) -> None:
    model.running.close()
    first = await begin("world")
    await model.running.reached()
    texts = ["cat", "mat", "the cat", "hello world", "猫", "кот"]
    calls = [await begin(text) for text in texts]

    model.running.open()
    results = await asyncio.gather(first, *calls)

    assert [len(batch) for batch in model.batches] == [1, len(texts)]
    for text, result in zip(["world", *texts], results, strict=True):
        np.testing.assert_allclose(result.vectors, [alone(model, text)], rtol=1e-5)


async def test_a_run_that_fails_fails_its_calls_and_no_other(engine: Engine, begin: Begin, model: GatedModel) -> None:
    model.running.close()
    before = await begin("world")
    await model.running.reached()
    crash, neighbour = [await begin(text) for text in ("crash", "mat")]
    apart = await begin("mat", priority=Priority.BULK)

    model.running.open()
    outcomes = await asyncio.gather(before, crash, neighbour, apart, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [
        Embeddings, InferenceFailedError, InferenceFailedError, Embeddings
    ]  # fmt: skip
    assert (await engine.embed_texts(model, TextInputs(["mat"]), Terms())).vectors.shape == (1, 8)


async def test_a_vector_that_is_not_a_number_fails_its_call_alone(
    engine: Engine, begin: Begin, model: GatedModel
) -> None:
    model.running.close()
    before = await begin("world")
    await model.running.reached()
    broken, neighbour = [await begin(text) for text in ("nan", "mat")]

    model.running.open()

    with pytest.raises(InferenceFailedError):
        await broken
    np.testing.assert_allclose((await neighbour).vectors, [alone(model, "mat")], rtol=1e-5)
    assert len(model.batches) == 2
    await before


async def test_texts_of_a_cancelled_call_are_not_computed(engine: Engine, begin: Begin, model: GatedModel) -> None:
    model.running.close()
    before = await begin("world")
    await model.running.reached()
    cancelled, live = [await begin(text) for text in ("hello", "mat")]

    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    model.running.open()
    await asyncio.gather(before, live)

    assert [len(batch) for batch in model.batches] == [1, 1]


async def test_a_call_cancelled_while_it_runs_leaves_the_engine_idle_and_well(
    engine: Engine, begin: Begin, model: GatedModel
) -> None:
    model.running.close()
    cancelled = await begin("world")
    await model.running.reached()

    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    await engine.idle()
    model.running.open()

    assert (await engine.embed_texts(model, TextInputs(["mat"]), Terms())).vectors.shape == (1, 8)


@pytest.mark.parametrize("deadline", [99.0, 100.0])
async def test_a_deadline_that_has_passed_expires_uncomputed(
    engine: Engine, model: GatedModel, deadline: float
) -> None:
    with pytest.raises(ExpiredError):
        await engine.embed_texts(model, TextInputs(["cat"]), Terms(deadline))

    assert model.batches == []


async def test_a_deadline_that_passes_in_the_queue_expires_uncomputed(
    engine: Engine, begin: Begin, model: GatedModel, clock: Clock
) -> None:
    model.running.close()
    before = await begin("world")
    await model.running.reached()
    late = await begin("cat", deadline=clock() + 1)

    clock.now += 1
    model.running.open()

    with pytest.raises(ExpiredError):
        await late
    await before
    assert len(model.batches) == 1


async def test_refused_inputs_leave_the_engine_idle(engine: Engine, model: GatedModel) -> None:
    with pytest.raises(InvalidItemsError):
        await engine.embed_texts(model, TextInputs(["cat", ""]), Terms())

    await engine.idle()


async def test_no_inputs_are_refused_rather_than_waited_for(
    engine: Engine, model: GatedModel, image_model: ImageModel
) -> None:
    async with asyncio.timeout(5):
        with pytest.raises(InvalidInputError):
            await engine.embed_texts(model, TextInputs([]), Terms())
        with pytest.raises(InvalidInputError):
            await engine.embed_images(image_model, ImageInputs([]), Terms())


async def test_timings_are_of_the_engines_clock(engine: Engine, begin: Begin, model: GatedModel, clock: Clock) -> None:
    model.running.close()
    call = await begin("world")
    await model.running.reached()
    clock.now += 2
    model.running.open()

    timings = (await call).timings

    assert (timings.preprocess, timings.queue, timings.infer) == (0, 0, 2)
