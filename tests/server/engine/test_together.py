import asyncio
import gc
from collections.abc import Sequence

import pytest
from controlled import GatedModel

from vecserve_server.engine.together import Together
from vecserve_server.models.inputs import AnyTextInputs, InvalidItemsError, Prepared, PreparedItem, TextInputs
from vecserve_server.models.model import TextModel


@pytest.fixture
def progress() -> list[float]:
    """The work that was on its way each time there was less."""
    return []


@pytest.fixture
def together(progress: list[float]) -> Together:
    together = Together(lambda: progress.append(together.work()))
    return together


@pytest.fixture
def groups(model: GatedModel, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many calls were preprocessed in each go."""
    groups: list[int] = []

    def prepare_all(calls: Sequence[AnyTextInputs]) -> list[Prepared]:
        groups.append(len(calls))
        return GatedModel.prepare_all(model, calls)

    monkeypatch.setattr(model, "prepare_all", prepare_all)
    return groups


def _begin(together: Together, model: TextModel, *texts: str, size: int = 4) -> asyncio.Task[list[PreparedItem]]:
    return asyncio.create_task(together.prepare(model, TextInputs(texts), size, 2.0))


async def test_calls_of_one_round_are_preprocessed_in_one_go_and_each_gets_its_own(
    together: Together, model: GatedModel, groups: list[int]
) -> None:
    first = [_begin(together, model, "cat"), _begin(together, model, "the cat", "mat sat on")]
    results = await asyncio.gather(*first)
    (later,) = await asyncio.gather(_begin(together, model, "mat"))

    assert groups == [2, 1]
    assert [[item.token_count for item in items] for items in results] == [[3], [4, 5]]
    assert [item.token_count for item in later] == [3]


async def test_what_is_wrong_with_one_call_is_no_matter_to_the_others(together: Together, model: GatedModel) -> None:
    good, bad = _begin(together, model, "cat"), _begin(together, model, "cat", "")

    assert len(await good) == 1
    with pytest.raises(InvalidItemsError) as refused:
        await bad
    assert list(refused.value.problems) == [1]


class Panic(BaseException):
    """As tokenizers raise it."""


@pytest.mark.parametrize("failure", [RuntimeError, Panic])
async def test_a_call_at_which_preprocessing_breaks_down_fails_alone(
    together: Together, model: GatedModel, monkeypatch: pytest.MonkeyPatch, failure: type[BaseException]
) -> None:
    def fail(calls: Sequence[AnyTextInputs]) -> list[Prepared]:
        if any(isinstance(inputs, TextInputs) and "dog" in inputs.texts for inputs in calls):
            raise failure("no dogs")
        return GatedModel.prepare_all(model, calls)

    monkeypatch.setattr(model, "prepare_all", fail)
    calls = [_begin(together, model, text) for text in ("cat", "dog", "mat", "dog")]

    cat, dog, mat, other_dog = await asyncio.gather(*calls, return_exceptions=True)

    assert isinstance(cat, list)
    assert isinstance(mat, list)
    assert isinstance(dog, RuntimeError)
    assert isinstance(other_dog, RuntimeError)
    assert dog is not other_dog
    assert "no dogs" in str(dog)
    await asyncio.sleep(0)
    assert together.work() == 0
    assert len(await _begin(together, model, "cat")) == 1


async def test_models_are_preprocessed_apart(together: Together, model: GatedModel, text_model: TextModel) -> None:
    calls = [_begin(together, model, "cat"), _begin(together, text_model, "mat")]

    assert [len(items) for items in await asyncio.gather(*calls)] == [1, 1]
    assert model.prepared == [1]


async def test_calls_that_were_cancelled_are_not_preprocessed(
    together: Together, model: GatedModel, groups: list[int], progress: list[float]
) -> None:
    cancelled, staying = _begin(together, model, "cat"), _begin(together, model, "mat")
    asyncio.get_running_loop().call_soon(cancelled.cancel)

    assert len(await staying) == 1
    assert cancelled.cancelled()
    assert groups == [1]
    await asyncio.sleep(0)
    assert progress == [0]


async def test_work_counts_until_its_calls_have_gone_on(
    together: Together, model: GatedModel, progress: list[float]
) -> None:
    seen: list[float] = []

    async def call() -> None:
        await together.prepare(model, TextInputs(["cat"]), 4, 2.0)
        seen.append(together.work())

    await asyncio.gather(*[call() for _ in range(3)])
    await asyncio.sleep(0)

    assert seen == [6.0] * 3
    assert progress == [0.0]


async def test_much_at_once_is_preprocessed_in_several_rounds(
    together: Together, model: GatedModel, progress: list[float]
) -> None:
    calls = [_begin(together, model, "cat", size=500) for _ in range(5)]
    rounds: list[int] = []
    while not all(call.done() for call in calls):
        rounds.append(len(model.prepared))
        await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert sorted(set(rounds)) == [0, 2, 4, 5]
    assert progress == [6.0, 2.0, 0.0]


async def test_a_call_of_more_than_one_go_is_taken_alone(
    together: Together, model: GatedModel, groups: list[int]
) -> None:
    calls = [
        _begin(together, model, "cat"),
        _begin(together, model, *["cat"] * 9, size=9000),
        _begin(together, model, "a"),
    ]

    assert [len(items) for items in await asyncio.gather(*calls)] == [1, 9, 1]
    assert groups == [1, 1, 1]


async def test_a_refused_call_leaves_nothing_to_the_garbage_collector(together: Together, model: GatedModel) -> None:
    async def refused() -> None:
        with pytest.raises(InvalidItemsError):
            await together.prepare(model, TextInputs([""]), 4, 2.0)

    await refused()
    await asyncio.sleep(0)
    gc.collect()
    gc.disable()
    try:
        await refused()
        await asyncio.sleep(0)
        assert not [found for found in gc.get_objects() if type(found) is InvalidItemsError]
    finally:
        gc.enable()
