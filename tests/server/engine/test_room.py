import asyncio
from collections.abc import Awaitable, Callable

import pytest

from vecserve_server.engine.errors import NotReadyError
from vecserve_server.engine.room import Room


class Place:
    """Room for so many, and who came in."""

    def __init__(self) -> None:
        self.room = Room()
        self.free = 0
        self.entered: list[str] = []
        self.looks = 0

    async def caller(self, name: str) -> None:
        await self.room.enter(self._fits)
        self.free -= 1
        self.entered.append(name)
        self.room.offer()

    def _fits(self) -> bool:
        self.looks += 1
        return self.free > 0


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.fixture
def come(place: Place) -> Callable[..., Awaitable[list[asyncio.Task[None]]]]:
    """Lets callers come, and wait if they have to."""

    async def come(*names: str) -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(place.caller(name)) for name in names]
        await settle()
        return tasks

    return come


async def settle() -> None:
    """Lets all that can happen now happen."""
    for _ in range(20):
        await asyncio.sleep(0)


Come = Callable[..., Awaitable[list[asyncio.Task[None]]]]


async def test_where_there_is_room_nobody_waits(place: Place, come: Come) -> None:
    place.free = 2

    await come("a", "b")

    assert place.entered == ["a", "b"]


async def test_callers_enter_in_the_order_they_came(place: Place, come: Come) -> None:
    await come("a", "b", "c")

    for free in (1, 2):
        place.free = free
        place.room.offer()
        await settle()

    assert place.entered == ["a", "b", "c"]


async def test_room_for_several_lets_several_in(place: Place, come: Come) -> None:
    await come("a", "b", "c")

    place.free = 2
    place.room.offer()
    await settle()

    assert place.entered == ["a", "b"]


async def test_offers_without_room_keep_the_order(place: Place, come: Come) -> None:
    await come("a", "b", "c")

    for _ in range(3):
        place.room.offer()
        place.room.offer()
        await settle()
    place.free = 3
    place.room.offer()
    await settle()

    assert place.entered == ["a", "b", "c"]


async def test_whoever_comes_later_does_not_overtake(place: Place, come: Come) -> None:
    await come("a")

    place.free = 1
    await come("b")
    assert place.entered == []

    place.room.offer()
    await settle()
    assert place.entered == ["a"]


async def test_only_the_first_looks_for_room(place: Place, come: Come) -> None:
    await come("a", "b", "c")

    place.room.offer()
    await settle()

    assert place.looks == 2


async def test_an_offer_that_nobody_waits_for_is_harmless(place: Place, come: Come) -> None:
    place.room.offer()

    await come("a")

    assert place.entered == []


@pytest.mark.parametrize("gone", [0, 1, 2])
async def test_callers_that_go_are_passed_over(place: Place, come: Come, gone: int) -> None:
    names = ["a", "b", "c"]
    tasks = await come(*names)

    tasks[gone].cancel()
    await settle()
    place.free = 3
    place.room.offer()
    await settle()

    assert place.entered == names[:gone] + names[gone + 1 :]


async def test_a_caller_that_goes_as_its_turn_comes_passes_it_on(place: Place, come: Come) -> None:
    first, _ = await come("a", "b")

    place.free = 1
    place.room.offer()
    first.cancel()
    await settle()

    assert place.entered == ["b"]


async def test_what_looking_raises_ends_the_wait_and_the_next_one_looks(place: Place, come: Come) -> None:
    def fail() -> bool:
        raise NotReadyError("stopped")

    waiting = [asyncio.create_task(place.room.enter(fail)) for _ in range(2)]
    await settle()

    for task in waiting:
        with pytest.raises(NotReadyError):
            task.result()
    place.free = 1
    await come("a")
    assert place.entered == ["a"]
