"""Commands that belong to packages with extras of their own, imported only when they are called."""

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Delegate:
    """A command that another package carries out."""

    module: str
    """Has `main(argv) -> int`."""
    extras: str
    """What must be installed with vecserve for it."""
    help: str


DELEGATES = {
    "serve": Delegate("vecserve_server.cli", "server,cpu", "serve exported models over gRPC"),
    "bench": Delegate("vecserve_bench.cli", "loadtest", "put load on a server, and report throughput and latency"),
    "export": Delegate("vecserve_export.cli", "server,cpu,export", "export BERT or ResNet-50 to ONNX"),
}


def run(name: str, argv: Sequence[str]) -> int:
    """Hand the arguments over and return the exit status; 2 when an extra is missing."""
    delegate = DELEGATES[name]
    try:
        main: Callable[[Sequence[str]], int] = importlib.import_module(delegate.module).main
        return main(argv)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("vecserve"):
            raise
        print(
            f"vecserve {name} needs {error.name}, which isn't installed: pip install 'vecserve[{delegate.extras}]'",
            file=sys.stderr,
        )
        return 2
