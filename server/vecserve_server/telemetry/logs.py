"""Log lines, for a terminal or a collector of plain text."""

import logging


def configure_logs(level: str) -> None:
    """Writes this server's log to standard error, from `level` up."""
    logging.basicConfig(
        level=level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", datefmt="%Y-%m-%dT%H:%M:%S%z"
    )
    # It reports at debug each time an event loop starts.
    logging.getLogger("asyncio").setLevel(logging.INFO)
