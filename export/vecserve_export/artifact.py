"""Artifacts appear whole or not at all: written beside their place, flushed to disk, and moved there by one rename."""

import errno
import os
import re
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import onnxruntime

from vecserve_export.errors import ArtifactWriteError
from vecserve_server.models.manifest import MANIFEST_FILE, Manifest

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Published:
    """An artifact that stands in its place."""

    directory: Path
    """`<out>/<name>/<version>`."""
    manifest: Manifest


def check_name(name: str) -> str:
    """The name, if a model may have it.

    Raises:
        ArtifactWriteError: it is empty, begins with a dot, or has characters other than letters, digits, `.`, `_`, `-`.
    """
    if not _NAME.fullmatch(name):
        raise ArtifactWriteError(
            f"{name!r} can't be a model's name: letters, digits, '.', '_' and '-' are allowed, and no '.' in front. "
            "Choose one with --name"
        )
    return name


@contextmanager
def staging(out: Path, name: str) -> Generator[Path]:
    """A hidden directory in `out` to write an artifact in; what has not been published when it closes is removed.

    Raises:
        ArtifactWriteError: `name` is not allowed, or `out` can't be written.
    """
    # Not tempfile: its directories are closed to other users, and servers run as others.
    directory = out / f".{check_name(name)}-{secrets.token_hex(4)}"
    versions = out / name
    if versions.exists() and not (versions.is_dir() and os.access(versions, os.W_OK)):
        raise ArtifactWriteError(f"{versions} is not a directory that can be written: choose another --name or --out")
    try:
        directory.mkdir(parents=True)
    except OSError as error:
        raise ArtifactWriteError(
            f"can't write to {out}: {error.strerror}. Choose another directory with --out"
        ) from error
    try:
        yield directory
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ArtifactWriteError(f"can't write to {out}: {error.strerror}") from error
        raise
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Writes `directory/manifest.json`."""
    (directory / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")


def publish(directory: Path, out: Path, name: str) -> Published:
    """Moves a finished artifact from `directory` to the next free version of `name`.

    Raises:
        ArtifactError: the manifest can't be read back.
        ArtifactWriteError: the artifact can't be moved there.
    """
    manifest = Manifest.read(directory)
    for file in directory.iterdir():
        _flush(file)
    _flush(directory)
    versions = out / name
    try:
        versions.mkdir(exist_ok=True)
        published = _rename_to_next_version(directory, versions)
        _flush(versions)
        _flush(out)
    except OSError as error:
        raise ArtifactWriteError(f"can't write to {versions}: {error.strerror}") from error
    return Published(published, manifest)


def _rename_to_next_version(directory: Path, versions: Path) -> Path:
    while True:
        target = versions / str(next_version(versions))
        try:
            return directory.rename(target)
        except OSError as error:
            # Another exporter was faster: the version that it took is seen on the next turn.
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise


def next_version(versions: Path) -> int:
    """One more than the highest version in a model's directory."""
    names = (path.name for path in versions.iterdir())
    return max((int(name) for name in names if name.isascii() and name.isdecimal()), default=0) + 1


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def tool_versions(library: str) -> dict[str, str]:
    """Versions of what takes part in an export, `library` being the one that the model comes from."""
    names = ("torch", library, "onnx", "onnxscript", "vecserve")
    # onnxruntime's distribution goes by several names.
    return {name: version(name) for name in names} | {"onnxruntime": onnxruntime.__version__}
