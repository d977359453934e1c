"""The options that every command which calls a server has."""

import argparse
import math
import os

from vecserve.client import Client


class UsageError(Exception):
    """The command can't be carried out as it was given."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which server to call, for how long, and in what form to answer."""
    group = parser.add_argument_group("server and output")
    group.add_argument(
        "--address",
        default=os.environ.get("VECSERVE_ADDRESS") or "127.0.0.1:50051",
        metavar="HOST:PORT",
        help="server to call; $VECSERVE_ADDRESS sets the default (now %(default)s)",
    )
    group.add_argument(
        "--timeout",
        type=seconds,
        default=30.0,
        metavar="SECONDS",
        help="give up after this long, retries included (default: 30)",
    )
    group.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def connect(arguments: argparse.Namespace, batch_size: int = 32) -> Client:
    """Return a client for the server that the options name.

    Raises:
        UsageError: If the address isn't one.
    """
    try:
        return Client(arguments.address, timeout=arguments.timeout, batch_size=batch_size)
    except ValueError as error:
        raise UsageError(str(error)) from error


def seconds(text: str) -> float:
    """Parse a duration for argparse."""
    value = float(text)
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"must be a positive number of seconds, not {text}")
    return value


def positive(text: str) -> int:
    """Parse a count for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return value
