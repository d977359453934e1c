"""`vecserve health`."""

import argparse

from vecserve.commands.connection import UsageError, add_options, connect


class NotServingError(OSError):
    """The server answers that it does not serve."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Give the parser of `health` its options."""
    parser.add_argument("--service", default="", metavar="NAME", help="what to ask for (default: the whole server)")
    add_options(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    with connect(arguments) as client:
        try:
            serving = client.is_serving(arguments.service)
        except ValueError as error:
            raise UsageError(str(error)) from error
    if not serving:
        raise NotServingError(f"{arguments.service or 'the server'} at {arguments.address} is not serving")
    print('{"serving": true}' if arguments.json else "serving")
