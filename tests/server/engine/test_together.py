import asyncio
from collections.abc import Sequence

import pytest
from controlled import GatedModel

from vecserve_server.engine.priority import Priority
from vecserve_server.engine.together import Together
from vecserve_server.models.inputs import AnyTextInputs, InvalidItemsError, Prepared, PreparedItem, TextInputs

INTERACTIVE, BULK = Priority.INTERACTIVE, Priority.BULK


@pytest.fixture
def together() -> Together:
    return Together()


def _begin(
    together: Together, model: GatedModel, *texts: str, size: int = 4, priority: Priority = INTERACTIVE
) -> asyncio.Task[list[PreparedItem]]:
    return asyncio.create_task(together.prepare(model, TextInputs(texts), size, priority, 2.0))


async def test_calls_of_one_round_are_preprocessed_in_one_go_and_each_gets_its_own(
    together: Together, model: GatedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups: list[int] = []

    def prepare_all(calls: Sequence[AnyTextInputs]) -> list[Prepared]:
        groups.append(len(calls))
        return GatedModel.prepare_all(model, calls)

    monkeypatch.setattr(model, "prepare_all", prepare_all)
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


async def test_a_model_that_fails_fails_its_own_calls_alone(
    together: Together, model: GatedModel, text_model: GatedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(calls: Sequence[AnyTextInputs]) -> list[Prepared]:
        raise RuntimeError("broken")

    monkeypatch.setattr(model, "prepare_all", fail)
    broken = [_begin(together, model, "cat") for _ in range(2)]
    other = _begin(together, text_model, "cat")

    assert len(await other) == 1
    for call in broken:
        with pytest.raises(RuntimeError, match="broken"):
            await call


async def test_a_call_that_is_cancelled_leaves_the_others_alone(together: Together, model: GatedModel) -> None:
    cancelled, staying = _begin(together, model, "cat"), _begin(together, model, "mat")
    await asyncio.sleep(0)

    cancelled.cancel()

    assert len(await staying) == 1
    assert cancelled.cancelled()
    await asyncio.sleep(0)
    assert together.work(INTERACTIVE) == 0


async def test_work_counts_by_priority_until_its_calls_have_gone_on(together: Together, model: GatedModel) -> None:
    seen: list[tuple[float, float]] = []

    async def call(priority: Priority) -> None:
        await together.prepare(model, TextInputs(["cat"]), 4, priority, 2.0)
        seen.append((together.work(INTERACTIVE), together.work(BULK)))

    await asyncio.gather(call(INTERACTIVE), call(INTERACTIVE), call(BULK))
    await asyncio.sleep(0)

    assert seen == [(4.0, 2.0)] * 3
    assert (together.work(INTERACTIVE), together.work(BULK)) == (0.0, 0.0)


async def test_much_at_once_is_preprocessed_in_several_rounds(together: Together, model: GatedModel) -> None:
    calls = [_begin(together, model, "cat", size=500) for _ in range(5)]
    rounds: list[int] = []
    while not all(call.done() for call in calls):
        rounds.append(len(model.prepared))
        await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert sorted(set(rounds)) == [0, 2, 4, 5]
    assert together.work(INTERACTIVE) == 0


async def test_a_call_of_more_than_one_go_is_taken_alone(together: Together, model: GatedModel) -> None:
    assert len(await _begin(together, model, *["cat"] * 9, size=9000)) == 9
