"""One of several server processes on a port. It does what its supervisor says, and ends with it."""

import asyncio
import contextlib
import logging
import signal
from multiprocessing.connection import Connection
from typing import cast

import uvloop

from vecserve_server.config import ServerConfig
from vecserve_server.server import START_ERRORS, Server
from vecserve_server.telemetry.logs import configure_logs
from vecserve_server.workers.messages import Failed, Order, Serving, receive

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""Blocked when a worker starts, until it can heed them."""


def main(descriptor: int) -> int:
    """Serves with the settings that come first through a socket; 0 after an orderly stop, 1 if it can't start."""
    supervisor = Connection(descriptor)
    try:
        config = cast("ServerConfig", supervisor.recv())
    except (EOFError, ConnectionError):
        return 1
    configure_logs(config.log_level, config.log_format, with_pid=True)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(config, supervisor))
    except START_ERRORS as error:
        _report(supervisor, Failed(str(error)))
        return 1
    return 0


async def _serve(config: ServerConfig, supervisor: Connection) -> None:
    def announce(_: str, models: str) -> None:
        logger.info("serving %s", models)
        _report(supervisor, Serving(models))

    server = Server(config, shares_port=True, announce=announce)
    obeying = asyncio.create_task(_obey(supervisor, server))
    _drain_on_signals(server)
    await server.run()
    obeying.cancel()


async def _obey(supervisor: Connection, server: Server) -> None:
    while (order := await receive(supervisor)) is Order.DRAIN:
        server.drain()
    if order is None:
        logger.warning("the supervisor has ended, and this worker ends with it")
    server.end()


def _drain_on_signals(server: Server) -> None:
    """Has signals mean no more than the order to drain, however many come.

    A terminal's Ctrl-C and a service manager's SIGTERM reach every process of a server: the supervisor, which tells
    the second from the first, gives its order beside them.
    """
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, server.drain)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _report(supervisor: Connection, report: Serving | Failed) -> None:
    with contextlib.suppress(OSError):  # it has ended, which the next message from it will say
        supervisor.send(report)
