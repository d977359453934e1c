"""The model repository: a directory of artifacts, `<name>/<version>/`."""

from pathlib import Path

from vecserve_server.models.manifest import ArtifactError


def find_artifacts(root: Path) -> list[Path]:
    """The directory of each model's highest version, by name.

    Versions are whole numbers; other directories, and whatever begins with a dot, are not looked at.

    Raises:
        ArtifactError: `root` can't be read, or holds no artifact.
    """
    try:
        names = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        versions = [max(found, key=_number) for name in names if (found := _versions(name))]
    except OSError as error:
        raise ArtifactError(f"model directory '{error.filename or root}': {error.strerror}") from error
    if not versions:
        raise ArtifactError(
            f"model directory '{root}' holds no <name>/<version>/ with a whole number as version; "
            "'vecserve export' makes one"
        )
    return versions


def _versions(name: Path) -> list[Path]:
    return [entry for entry in name.iterdir() if entry.is_dir() and entry.name.isdecimal()]


def _number(version: Path) -> int:
    return int(version.name)
