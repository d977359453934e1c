"""The model repository: a directory of artifacts, `<name>/<version>/`."""

from collections.abc import Mapping
from pathlib import Path

from vecserve_server.models.manifest import ArtifactError


def find_artifacts(root: Path, count: int = 1, pins: Mapping[str, int] | None = None) -> list[Path]:
    """The directories of each model's highest versions, at most `count`, by name and with the highest last.

    Of a model that `pins` names, no version above its pin counts. Versions are whole numbers; other directories, and
    whatever begins with a dot, are not looked at.

    Raises:
        ArtifactError: `root` can't be read, or holds no artifact.
    """
    try:
        names = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        versions = [path for name in names for path in find_versions(root, name, (pins or {}).get(name))[-count:]]
    except OSError as error:
        raise ArtifactError(f"model directory '{error.filename or root}': {error.strerror}") from error
    if not versions:
        raise ArtifactError(
            f"model directory '{root}' holds no <name>/<version>/ with a whole number as version; "
            "'vecserve export' makes one"
        )
    return versions


def find_versions(root: Path, name: str, pin: int | None = None) -> list[Path]:
    """The directories of a model's versions, none above its pin, the highest last.

    Raises:
        OSError: its directory can't be read.
    """
    versions = [entry for entry in (root / name).iterdir() if entry.is_dir() and entry.name.isdecimal()]
    return sorted((path for path in versions if pin is None or int(path.name) <= pin), key=lambda path: int(path.name))
