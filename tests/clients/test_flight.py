import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator

import pytest

from vecserve.flight import Flight, results_async


def taking(items: str) -> Callable[[], Awaitable[str | None]]:
    remaining = iter(items)

    async def take() -> str | None:
        return next(remaining, None)

    return take


def test_of_several_failures_the_earliest_items_is_raised() -> None:
    both_running = threading.Barrier(2)

    def job(item: str) -> None:
        both_running.wait(10)
        if item == "a":  # fails second, in time
            both_failing.wait(10)
        else:
            both_failing.set()
        raise LookupError(item)

    both_failing = threading.Event()

    with pytest.raises(LookupError, match="a"):
        Flight().results(job, iter("ab"), concurrency=2)


async def test_of_several_failures_the_earliest_items_is_raised_async() -> None:
    last_is_failing = asyncio.Event()

    async def job(item: str) -> None:
        if item == "a":  # fails second, in time
            await last_is_failing.wait()
        last_is_failing.set()
        raise LookupError(item)

    with pytest.raises(LookupError, match="a"):
        await results_async(job, taking("ab"), concurrency=2)


def test_nothing_is_begun_after_a_failure() -> None:
    begun: list[str] = []

    def job(item: str) -> None:
        begun.append(item)
        raise LookupError(item)

    with pytest.raises(LookupError, match="a"):
        Flight().results(job, iter("abc"), concurrency=1)
    assert begun == ["a"]


def test_a_caller_that_gives_up_ends_the_waits_of_its_threads() -> None:
    flight = Flight()
    waiting = threading.Event()

    def job(item: str) -> None:
        waiting.set()
        flight.sleep(60)

    def interrupted() -> str:
        assert waiting.wait(10)
        raise KeyboardInterrupt

    def items() -> Iterator[str]:
        yield "a"
        yield interrupted()

    with pytest.raises(KeyboardInterrupt):
        flight.results(job, items(), concurrency=2)
    # Getting here at all, without a minute's wait, is what is shown.


async def test_cancelling_an_async_call_cancels_its_requests() -> None:
    waiting, cancelled = asyncio.Event(), asyncio.Event()

    async def job(item: str) -> None:
        waiting.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    call = asyncio.create_task(results_async(job, taking("a"), concurrency=1))
    await waiting.wait()
    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    assert cancelled.is_set()
