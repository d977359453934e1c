"""Shared libraries that a provider needs and this system lacks."""

import ctypes
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import onnxruntime as ort

_NOT_FOUND = re.compile(r"^\s*(\S+) => not found$", re.MULTILINE)


def runtime_library(name: str) -> Path:
    """A file that comes with ONNX Runtime."""
    return Path(ort.__file__).parent / "capi" / name


def missing_libraries(file: Path) -> list[str]:
    """Libraries that the library `file` is linked to and that can't be loaded.

    The dynamic linker's own message names only the first; `ldd`, where there is one, lists them all.
    """
    message = _linker_message(file)
    if message is None:
        return []
    # It does not know what this process has loaded from elsewhere.
    return unloadable(_NOT_FOUND.findall(_ldd(file))) or [message]


def unloadable(names: Iterable[str]) -> list[str]:
    """Those that this process can't load, by any path: what it has loaded before counts as found."""
    return [name for name in names if _linker_message(name)]


def lacking(names: list[str]) -> str:
    """That they are missing, in words."""
    several = f"{', '.join(names[:-1])} and {names[-1]} are" if len(names) > 1 else f"{names[0]} is"
    return f"{several} missing"


def _ldd(file: Path) -> str:
    program = shutil.which("ldd")
    if program is None:
        return ""
    return subprocess.run([program, file], capture_output=True, text=True, check=False).stdout  # noqa: S603 (see above)


def _linker_message(file: Path | str) -> str | None:
    try:
        ctypes.CDLL(str(file))
    except OSError as error:
        return str(error)
    return None
