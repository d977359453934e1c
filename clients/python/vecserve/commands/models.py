"""`vecserve models`."""

import argparse
import json
from dataclasses import asdict

from vecserve.commands.connection import add_options, connect


def configure(parser: argparse.ArgumentParser) -> None:
    """Give the parser of `models` its options."""
    parser.add_argument("--verbose", action="store_true", help="show everything that is known of each")
    add_options(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    if arguments.json:
        with connect(arguments) as client:
            print(json.dumps({"models": [asdict(model) for model in client.models()]}))
        return
    from vecserve.commands import tables

    with connect(arguments) as client:
        models = client.models()
    (tables.print_model_details if arguments.verbose else tables.print_models)(models)
