"""`vecserve serve`."""

import asyncio
import os
import sys
from collections.abc import Sequence

import uvloop
from pydantic import ValidationError

from vecserve_server.config import ServerConfig
from vecserve_server.loading import SettingError
from vecserve_server.models.manifest import ArtifactError
from vecserve_server.models.session import ProviderError
from vecserve_server.server import BindError, Server
from vecserve_server.telemetry.logs import configure_logs
from vecserve_server.validation import describe


def main(argv: Sequence[str]) -> int:
    """Serves until a signal; 0 after an orderly stop, 1 if it can't start, 2 if a setting is not allowed."""
    try:
        config = ServerConfig.from_command_line(argv)
    except ValidationError as error:
        return _fail(describe(error, _flag), 2)
    configure_logs(config.log_level)
    # Batches are tokenized on our own threads; the library's pool would take the instances' cores.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(config))
    except (ArtifactError, BindError, ProviderError, SettingError) as error:
        return _fail(str(error), 1)
    return 0


async def _serve(config: ServerConfig) -> None:
    await Server(config).run()


def _flag(field: str) -> str:
    return "--" + field.replace("_", "-")


def _fail(message: str, status: int) -> int:
    print(f"vecserve serve: error: {message}", file=sys.stderr)
    return status
