"""`vecserve models`."""

import argparse
import json
from dataclasses import asdict

from vecserve.commands.connection import UsageError, add_options, connect
from vecserve.models import ModelVersion


def configure(parser: argparse.ArgumentParser) -> None:
    """Give the parser of `models` its options."""
    parser.add_argument(
        "action",
        nargs="?",
        choices=("list", "load", "unload"),
        default="list",
        help="load and unload change what a server that runs with --admin serves (default: list)",
    )
    parser.add_argument(
        "model", nargs="?", metavar="NAME[@VERSION]", help="what to load, by default in its highest version, or unload"
    )
    parser.add_argument("--verbose", action="store_true", help="show everything that is known of each")
    add_options(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    if arguments.action == "list":
        _list(arguments)
    else:
        _change(arguments)


def _list(arguments: argparse.Namespace) -> None:
    if arguments.model:
        raise UsageError(f"'{arguments.model}' is one argument too many: list shows all models")
    if arguments.json:
        with connect(arguments) as client:
            print(json.dumps({"models": [asdict(model) for model in client.models()]}))
        return
    from vecserve.commands import tables

    with connect(arguments) as client:
        models = client.models()
    (tables.print_model_details if arguments.verbose else tables.print_models)(models)


def _change(arguments: argparse.Namespace) -> None:
    if not arguments.model:
        raise UsageError(f"{arguments.action} needs the name of a model")
    name, _, version = arguments.model.rpartition("@")
    if not name or not version.isdecimal():
        name, version = arguments.model, ""
    with connect(arguments) as client:
        if arguments.action == "load":
            _print(arguments, "serves", client.load_model(name, version))
        elif version:
            raise UsageError(f"all versions of a model are unloaded together: name it without '@{version}'")
        else:
            _print(arguments, "unloaded", client.unload_model(name))


def _print(arguments: argparse.Namespace, done: str, versions: list[ModelVersion]) -> None:
    if arguments.json:
        print(json.dumps({"versions": [asdict(version) for version in versions]}))
        return
    for version in versions:
        print(f"{done} {version.name}@{version.version} ({version.digest})")
