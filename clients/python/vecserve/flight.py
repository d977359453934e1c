"""The requests of one call that are under way at once, of which one failure ends all."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import grpc

from vecserve.options import Metadata

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class _EndedError(Exception):
    """Another request failed, and this one's answer isn't wanted any more."""


class Flight:
    """Sends and waits on behalf of threads, until one of them fails or the caller gives up."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._calls: set[grpc.Future[Any]] = set()

    def send(
        self,
        method: "grpc.UnaryUnaryMultiCallable[_Request, _Response]",
        request: _Request,
        timeout: float,
        metadata: Metadata,
    ) -> _Response:
        """Send a request and return its answer.

        Raises:
            grpc.RpcError: If the call fails.
        """
        self._check()
        call = method.future(request, timeout=timeout, metadata=metadata)
        with self._lock:
            self._calls.add(call)
        if self._ended.is_set():  # since the check above, and maybe too late for end() to see this call
            call.cancel()
        try:
            return call.result()
        except grpc.FutureCancelledError:
            raise _EndedError from None
        finally:
            with self._lock:
                self._calls.discard(call)

    def sleep(self, seconds: float) -> None:
        """Wait for some seconds, or until another request fails."""
        self._ended.wait(seconds)
        self._check()

    def results(self, job: Callable[[_Item], _Result], items: Iterator[_Item], concurrency: int) -> list[_Result]:
        """Return what a job makes of each item, in order, with so many under way at once.

        Items are taken as threads become free. The first failure cancels what is under way, and nothing is begun
        after it.

        Raises:
            Exception: What the job raised; of several failures, the one of the earliest item.
        """
        slots = threading.Semaphore(concurrency)
        futures: list[Future[_Result]] = []

        def run(item: _Item) -> _Result:
            try:
                return job(item)
            except BaseException:
                self.end()
                raise
            finally:
                slots.release()

        with ThreadPoolExecutor(concurrency, "vecserve") as threads:
            try:
                for item in items:
                    slots.acquire()
                    if self._ended.is_set():
                        break
                    futures.append(threads.submit(run, item))
                return _in_order(futures)
            except BaseException:
                self.end()
                raise

    def end(self) -> None:
        """Cancel what is under way, and let nothing begin."""
        self._ended.set()
        with self._lock:
            calls = tuple(self._calls)
        for call in calls:
            call.cancel()

    def _check(self) -> None:
        if self._ended.is_set():
            raise _EndedError


def _in_order(futures: list[Future[_Result]]) -> list[_Result]:
    failures = [error for future in futures if (error := future.exception()) is not None]
    for error in failures:
        if not isinstance(error, _EndedError):
            raise error
    return [future.result() for future in futures]


async def results_async(
    job: Callable[[_Item], Coroutine[Any, Any, _Result]],
    take: Callable[[], Awaitable[_Item | None]],
    concurrency: int,
) -> list[_Result]:
    """Do as `Flight.results` does, for asyncio; `take` returns the next item, and None after the last.

    Raises:
        Exception: What the job raised; of several failures, the one of the earliest item.
    """
    tasks: list[asyncio.Task[_Result]] = []
    slots = asyncio.Semaphore(concurrency)
    try:
        async with asyncio.TaskGroup() as group:
            while (item := await take()) is not None:
                await slots.acquire()
                tasks.append(group.create_task(job(item)))
                tasks[-1].add_done_callback(lambda _: slots.release())
    except ExceptionGroup as failures:
        failure = _earliest(tasks) or failures.exceptions[0]
    else:
        return [task.result() for task in tasks]
    raise failure  # out here so that the group isn't shown as its context


def _earliest(tasks: list[asyncio.Task[_Result]]) -> BaseException | None:
    ended = (task.exception() for task in tasks if not task.cancelled())
    return next(filter(None, ended), None)
