"""The process that keeps the workers of one port running. It answers no calls and loads no models itself."""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from vecserve_server.config import ServerConfig
from vecserve_server.workers.backoff import Backoff
from vecserve_server.workers.messages import Order
from vecserve_server.workers.port import reserved
from vecserve_server.workers.process import StartError, WorkerProcess, describe_end
from vecserve_server.workers.worker import SIGNALS

logger = logging.getLogger(__name__)

# What a worker may take to end beside the grace period: closing connections, a batch that runs, the interpreter's end.
_ENDING_SECONDS = 5.0

T = TypeVar("T")


class Supervisor:
    """Starts the workers of a configuration, replaces those that end, and ends them when it is told to stop."""

    def __init__(
        self,
        config: ServerConfig,
        start: Callable[[ServerConfig], WorkerProcess] = WorkerProcess,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._config = config
        self._start = start
        self._clock = clock
        self._sleep = sleep
        self._address = config.address
        self._workers: set[WorkerProcess] = set()
        self._stop = asyncio.Event()
        self._give_up = asyncio.Event()

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT; a second one ends the grace period.

        Raises:
            BindError: the address can't be listened on.
            StartError: a worker can't start. Once all have served, that is retried instead.
        """
        self._listen_to_signals()
        with reserved(self._config.address) as self._address:
            try:
                await self._serve()
                await self._drain()
            finally:
                await self._end()

    def request_stop(self) -> None:
        """Begins to shut down; the second time, at once."""
        if self._stop.is_set():
            self._give_up.set()
        self._stop.set()

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self.request_stop)

    async def _serve(self) -> None:
        workers = [self._spawn(number) for number in range(self._config.workers)]
        models = await self._unless_stopped(*(worker.serving() for worker in workers))
        if models:
            logger.info("ready on %s with %s, pid %d, %d workers", self._address, models[0], os.getpid(), len(models))
            await self._unless_stopped(*(self._keep(number, worker) for number, worker in enumerate(workers)))

    def _spawn(self, number: int) -> WorkerProcess:
        try:
            worker = self._start(self._config.of_worker(number, self._address))
        except OSError as error:
            raise StartError(f"can't start a worker: {error.strerror}") from error
        self._workers.add(worker)
        return worker

    async def _keep(self, number: int, worker: WorkerProcess) -> None:
        """Has a worker in this place, and another when it has ended, for as long as the server lives."""
        backoff = Backoff(self._clock)
        backoff.serving()
        while True:
            status = await worker.ended()
            self._workers.remove(worker)
            level = logging.ERROR if status else logging.INFO
            logger.log(level, "worker %d %s", worker.pid, describe_end(status))
            worker = await self._replace(number, backoff)
            try:
                await worker.serving()
            except StartError as error:
                logger.error("worker %d can't start: %s", worker.pid, error)
            else:
                backoff.serving()
                logger.info("worker %d took its place", worker.pid)

    async def _replace(self, number: int, backoff: Backoff) -> WorkerProcess:
        while True:
            delay = backoff.ended()
            if delay:
                logger.info("the next worker starts in %g s", delay)
            await self._sleep(delay)
            try:
                return self._spawn(number)
            except StartError as error:
                logger.error("%s", error)

    async def _drain(self) -> None:
        """Waits until the workers have finished accepted calls, but no longer than the grace period."""
        grace = self._config.grace_seconds
        logger.info("shutting down: workers finish accepted calls, for at most %g s", grace)
        self._order(Order.DRAIN)
        ended = asyncio.create_task(self._all_ended())
        impatient = asyncio.create_task(self._give_up.wait())
        await asyncio.wait((ended, impatient), timeout=grace + _ENDING_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for waiting in (ended, impatient):
            waiting.cancel()

    async def _end(self) -> None:
        self._order(Order.END)
        try:
            async with asyncio.timeout(_ENDING_SECONDS):
                await self._all_ended()
        except TimeoutError:
            logger.warning("workers that have not ended are killed")
            for worker in self._workers:
                worker.kill()
            await self._all_ended()

    def _order(self, order: Order) -> None:
        for worker in self._workers:
            worker.order(order)

    async def _all_ended(self) -> None:
        await asyncio.gather(*(worker.ended() for worker in self._workers))

    async def _unless_stopped(self, *work: Coroutine[Any, Any, T]) -> list[T] | None:
        """Results of all, or the first error; None if the server is told to stop before."""
        working = asyncio.create_task(_all_of(*work))
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if working.done():
            return working.result()
        working.cancel()
        return None


async def _all_of(*work: Coroutine[Any, Any, T]) -> list[T]:
    return await asyncio.gather(*work)
