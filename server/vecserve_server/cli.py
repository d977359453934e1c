"""`vecserve serve`."""

import asyncio
import os
import sys
from collections.abc import Sequence

import uvloop
from pydantic import ValidationError
from pydantic_settings import SettingsError

from vecserve_server.config import ServerConfig
from vecserve_server.server import START_ERRORS, Server
from vecserve_server.telemetry.logs import configure_logs
from vecserve_server.validation import describe
from vecserve_server.workers.process import StartError
from vecserve_server.workers.supervisor import Supervisor


def main(argv: Sequence[str]) -> int:
    """Serves until a signal; 0 after an orderly stop, 1 if it can't start, 2 if a setting is not allowed."""
    try:
        config = ServerConfig.from_command_line(argv)
    except ValidationError as error:
        return _fail(describe(error, _flag), 2)
    except SettingsError as error:  # a value of several parts that can't be taken apart
        return _fail(
            f'{error}. The flag takes NAME=VALUE or JSON, the environment variable JSON: {{"NAME": "VALUE"}}', 2
        )
    configure_logs(config.log_level, config.log_format, with_pid=config.workers > 1)
    # Batches are tokenized on our own threads; the library's pool would take the instances' cores.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_supervise(config) if config.workers > 1 else _serve(config))
    except (*START_ERRORS, StartError) as error:
        return _fail(str(error), 1)
    return 0


async def _serve(config: ServerConfig) -> None:
    server = Server(config)
    server.stop_on_signals()
    await server.run()


async def _supervise(config: ServerConfig) -> None:
    await Supervisor(config).run()


def _flag(field: str) -> str:
    return "--" + field.replace("_", "-")


def _fail(message: str, status: int) -> int:
    print(f"vecserve serve: error: {message}", file=sys.stderr)
    return status
