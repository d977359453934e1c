"""File descriptors, of which each connection takes one."""

import logging
import resource

logger = logging.getLogger(__name__)

# Of everything else: models, libraries, logs, threads' event loops.
_OTHERS = 256


def allow_connections(count: int) -> None:
    """Raises this process's limit of descriptors to what so many connections need, as far as the system lets it.

    Shells and service managers often set 1024, and no connection can be accepted beyond it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _OTHERS
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        logger.warning(
            "this process may open %d files, too few for --max-connections %d: raise the hard limit (ulimit -Hn)",
            *(allowed, count),
        )
