"""Log lines, for a terminal or a collector of plain text."""

import logging
import warnings


def configure_logs(level: str, *, with_pid: bool = False) -> None:
    """Writes this server's log to standard error, from `level` up; with the process's id where several write to it."""
    pid = "[%(process)d] " if with_pid else ""
    logging.basicConfig(
        level=level.upper(),
        format=f"%(asctime)s %(levelname)-7s {pid}%(name)s: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S%z",
    )
    # What is wrong with an image is told to whoever sent it; Pillow would also log it, and warn.
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"PIL\.")
    # It reports at debug each time an event loop starts.
    logging.getLogger("asyncio").setLevel(logging.INFO)
