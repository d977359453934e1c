"""Serves the example models, and embeds sentences and photographs through a real call.

Ends with status 1 if a sentence's paraphrase is not the one closest to it.
"""

import argparse
import contextlib
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Generator, Iterable, Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import numpy as np
from rich.console import Console

from vecserve import Client, ModelInfo
from vecserve.commands.tables import cosines, print_embeddings, print_models

# In pairs that say the same in other words.
SENTENCES = [
    "A cat is asleep on the sofa.",
    "The kitten naps on the couch.",
    "The central bank raised interest rates.",
    "Borrowing became dearer after the monetary authority's decision.",
    "How do I reset my password?",
    "I forgot my login and need a new one.",
]

# In scikit-image's package. The first two are one motorcycle, seen by the two eyes of a stereo camera.
PHOTOGRAPHS = [
    "motorcycle_left.png",
    "motorcycle_right.png",
    "chelsea.png",
    "coffee.png",
    "astronaut.png",
    "rocket.jpg",
]

READY = re.compile(r"ready on (\S+) ")


def main() -> int:
    """Runs the demonstration and returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"), help="directory of artifacts (default: models)")
    models = parser.parse_args().models
    console = Console(highlight=False)
    with running_server(models) as address, Client(address) as client:
        console.rule("What it runs on")
        loaded = client.models()
        print_models(loaded)
        console.print(f"{platform.machine()}, Python {platform.python_version()}, onnxruntime {version('onnxruntime')}")
        console.rule("Sentences: 1 and 2, 3 and 4, 5 and 6 say the same")
        sentences = client.embed_text(SENTENCES)
        print_embeddings("text", SENTENCES, sentences)
        console.rule("Photographs: 1 and 2 show one motorcycle")
        announce_random_weights(console, loaded)
        photographs = client.embed_images([photograph(name) for name in PHOTOGRAPHS])
        print_embeddings("image", PHOTOGRAPHS, photographs)
    return report(console, sentences.vectors)


@contextlib.contextmanager
def running_server(models: Path) -> Generator[str]:
    """Starts `vecserve serve` on a free port, and yields its address once it is ready."""
    command = [sys.executable, "-m", "vecserve", "serve", "--models", str(models), "--address", "127.0.0.1:0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)  # noqa: S603 (our own command)
    assert server.stderr is not None
    try:
        yield ready_address(server.stderr)
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)


def ready_address(log: Iterable[str]) -> str:
    """Shows the server's log until it says where it is ready."""
    for line in log:
        print(line, end="", file=sys.stderr)
        if found := READY.search(line):
            return found.group(1)
    raise SystemExit("the server did not start: see above")


def photograph(name: str) -> Path:
    """The path of a photograph that scikit-image ships."""
    return Path(str(files("skimage") / "data" / name))


def announce_random_weights(console: Console, models: Sequence[ModelInfo]) -> None:
    """Says which vectors mean nothing because the weights were never trained."""
    for model in models:
        if model.source.startswith("random:"):
            console.print(
                f"{model.name} has RANDOM weights ({model.source}): torchvision's could not be fetched. Its vectors "
                "show the way of a call, and little of what is in a picture.",
                style="bold yellow",
            )


def report(console: Console, vectors: np.ndarray) -> int:
    """Says whether each sentence's paraphrase is the one closest to it; 1 if not."""
    similarities = cosines(vectors)
    np.fill_diagonal(similarities, -1)
    closest = similarities.argmax(axis=1)
    if any(other != index ^ 1 for index, other in enumerate(closest)):
        console.print("A paraphrase is NOT the closest to its sentence.", style="bold red")
        return 1
    console.print("Every sentence is closest to its paraphrase.", style="bold green")
    return 0


if __name__ == "__main__":
    sys.exit(main())
