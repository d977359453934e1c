"""Ends a server's connections from below gRPC."""

import contextlib
import os
import socket


def end_connections(port: int) -> None:
    """Sends what was written to the connections of a port of this process, and ends them.

    Callers hear UNAVAILABLE, which says that they may try elsewhere. A gRPC server that stops answers what it has not
    read yet, or reads while it stops, with CANCELLED, as if the caller had given up.
    """
    for descriptor in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(descriptor))) as connection:
            if connection.family in (socket.AF_INET, socket.AF_INET6) and connection.getsockname()[1] == port:
                connection.shutdown(socket.SHUT_RDWR)
