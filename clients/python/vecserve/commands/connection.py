"""The options that every command which calls a server has."""

import argparse
import math
import os
from pathlib import Path

from vecserve.client import Client
from vecserve.security import Tls, check_token_is_private


class UsageError(Exception):
    """The command can't be carried out as it was given."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which server to call, for how long, and in what form to answer."""
    group = parser.add_argument_group("server and output")
    group.add_argument(
        "--address",
        default=os.environ.get("VECSERVE_ADDRESS") or "127.0.0.1:50051",
        metavar="ADDRESS",
        help="server to call, HOST:PORT or unix:PATH; $VECSERVE_ADDRESS sets the default (now %(default)s)",
    )
    group.add_argument(
        "--timeout",
        type=seconds,
        default=30.0,
        metavar="SECONDS",
        help="give up after this long, retries included (default: 30)",
    )
    group.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    _add_security(parser)


def _add_security(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("TLS and tokens")
    group.add_argument(
        "--tls", action="store_true", help="connect over TLS; the other options of TLS, which name files, mean it too"
    )
    group.add_argument(
        "--tls-ca", metavar="FILE", help="authorities to trust, in place of those that gRPC brings along"
    )
    group.add_argument("--tls-cert", metavar="FILE", help="certificate to show the server")
    group.add_argument("--tls-key", metavar="FILE", help="private key of the certificate")
    group.add_argument(
        "--tls-server-name", default="", metavar="NAME", help="name that the server's certificate is for"
    )
    # Not the token itself: other users see the arguments of a process.
    group.add_argument(
        "--token-file", type=Path, metavar="FILE", help="file of a bearer token, in place of $VECSERVE_TOKEN"
    )
    group.add_argument("--plaintext-token", action="store_true", help="send the token without TLS over a network too")


def connect(arguments: argparse.Namespace, batch_size: int = 32) -> Client:
    """Return a client for the server that the options name.

    Raises:
        OSError: If a file of certificates, keys or a token can't be read.
        UsageError: If the address isn't one, or an option lacks another.
    """
    try:
        return Client(
            arguments.address,
            timeout=arguments.timeout,
            batch_size=batch_size,
            tls=_tls(arguments),
            token=read_token(arguments.token_file),
            plaintext_token=arguments.plaintext_token,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def _tls(arguments: argparse.Namespace) -> Tls | None:
    files = arguments.tls_ca, arguments.tls_cert, arguments.tls_key
    if not (arguments.tls or arguments.tls_server_name or any(files)):
        return None
    return Tls(*files, server_name=arguments.tls_server_name)


def read_token(file: Path | None) -> str | None:
    """Return the token that a file holds, else that of the environment; None where there is none.

    Raises:
        OSError: If the file can't be read.
    """
    if file is not None:
        return file.read_text().strip()
    return os.environ.get("VECSERVE_TOKEN") or None


def authorization(address: str, file: Path | None, *, plaintext_allowed: bool) -> tuple[tuple[str, str], ...]:
    """Return the metadata that carries the token, of which there may be none, to a server without TLS.

    Raises:
        OSError: If the file can't be read.
        ValueError: If others could read it on the way, unless that is allowed.
    """
    token = read_token(file)
    if token is None:
        return ()
    if not plaintext_allowed:
        check_token_is_private(address, tls=False)
    return (("authorization", f"Bearer {token}"),)


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
