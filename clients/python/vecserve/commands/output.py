"""Vectors for other programs: JSON on stdout, and .npy files."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from vecserve.commands.connection import UsageError
from vecserve.embeddings import Embeddings


def print_json(inputs: Sequence[str], embeddings: Embeddings) -> None:
    """Print everything that is known of some vectors as one JSON object."""
    vectors = embeddings.vectors
    # Through the shortest decimals that name each element: a float32 made a Python float prints twice the digits.
    short = vectors.astype(np.str_).astype(np.float64)
    rows = zip(inputs, embeddings.token_counts.tolist(), embeddings.truncated.tolist(), short.tolist(), strict=True)
    names = ("input", "token_count", "truncated", "vector")
    document = {
        "model": asdict(embeddings.model),
        "dimensionality": vectors.shape[1],
        "normalized": embeddings.normalized,
        "embeddings": [dict(zip(names, row, strict=True)) for row in rows],
    }
    print(json.dumps(document))


def check_writable(path: Path) -> None:
    """Check that a file can come to be at a path.

    Raises:
        UsageError: If something other than a file is there, or there is no such folder.
    """
    if path.exists() and not path.is_file():
        raise UsageError(f"--output {path} exists and isn't a file")
    if not path.parent.is_dir():
        raise UsageError(f"--output {path}: there is no folder {path.parent}")


def save(path: Path, embeddings: Embeddings) -> None:
    """Write the vectors as numpy.save does, whole or not at all, and say so on stderr.

    Raises:
        OSError: If they can't be written.
    """
    target = path.resolve()  # os.replace would put the file in the place of a link
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            np.save(file, embeddings.vectors)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    print(f"wrote {path}: {embeddings.vectors.shape} {embeddings.vectors.dtype}", file=sys.stderr)
