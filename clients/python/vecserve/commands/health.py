"""`vecserve health`."""

import argparse
import os

import grpc

from vecserve.channel import open_channel
from vecserve.commands.connection import UsageError, seconds
from vecserve.options import Options
from vecserve.retry import RetryPolicy

_CHECK = "/grpc.health.v1.Health/Check"
_SERVING = b"\x08\x01"  # HealthCheckResponse with status, field 1, SERVING: the health protos need another package
_SERVICE_TAG = 0x0A  # field 1 of HealthCheckRequest, a string


class NotServingError(OSError):
    """The server answered that it does not serve, or did not answer."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Give the parser of `health` its options."""
    parser.add_argument(
        "--address",
        default=os.environ.get("VECSERVE_ADDRESS") or "127.0.0.1:50051",
        metavar="HOST:PORT",
        help="server to ask; $VECSERVE_ADDRESS sets the default (now %(default)s)",
    )
    parser.add_argument("--service", default="", metavar="NAME", help="what to ask for (default: the whole server)")
    parser.add_argument("--timeout", type=seconds, default=5.0, metavar="SECONDS", help="wait so long (default: 5)")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    try:
        options = Options(arguments.address, arguments.timeout, 1, 1, RetryPolicy(max_attempts=1), None, ())
    except ValueError as error:
        raise UsageError(str(error)) from error
    name = arguments.service.encode()
    if len(name) > 127:
        raise UsageError(f"--service has {len(name)} bytes, and names have at most 127")
    request = bytes((_SERVICE_TAG, len(name))) + name if name else b""
    with open_channel(options) as channel:
        try:
            answer = channel.unary_unary(_CHECK)(request, timeout=arguments.timeout)
        except grpc.RpcError as error:
            raise NotServingError(f"{arguments.address}: {error.code().name}: {error.details()}") from error
    if answer != _SERVING:
        raise NotServingError(f"{arguments.address}: {arguments.service or 'the server'} is not serving")
    print("serving")
