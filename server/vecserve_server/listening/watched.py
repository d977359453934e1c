"""Files that are read anew when they change, and the value they hold."""

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from vecserve_server.listening.errors import FileError

logger = logging.getLogger(__name__)

Value = TypeVar("Value")

CHECK_SECONDS = 1.0
"""Between two looks at the files, each of which costs a `stat` of each."""

_Signature = tuple[tuple[int, int, int, int] | None, ...]


class WatchedFiles(Generic[Value]):
    """What some files say. New contents are taken over once they make sense, and until then the old ones stay.

    Files are read when they have not changed between two looks, so that one that is being written is left alone.
    Symbolic links are followed at each look: Kubernetes replaces a mounted secret by moving a link.
    """

    def __init__(self, name: str, files: Sequence[Path], parse: Callable[..., Value]) -> None:
        """Reads them.

        Args:
            name: What they are, for the log.
            files: Where they are.
            parse: Makes the value of their contents, each a `bytes` argument; raises FileError if it can't.

        Raises:
            FileError: a file can't be read, or its contents can't be used.
        """
        self._name = name
        self._files = tuple(files)
        self._parse = parse
        self._seen = self._read = self._signature()
        self.value = self._load()

    async def watch(self) -> None:
        """Looks at the files, for ever."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            await asyncio.to_thread(self.look)  # a file system may hang

    def look(self) -> None:
        """Takes over what has changed, and logs once what can't be used."""
        before, self._seen = self._seen, self._signature()
        if self._seen == self._read or self._seen != before:
            return
        self._read = self._seen
        try:
            self.value = self._load()
        except FileError as error:
            logger.error("%s stay as they were: %s", self._name, error)
        else:
            logger.info("%s read anew: %s", self._name, self.value)

    def _load(self) -> Value:
        return self._parse(*map(_contents, self._files))

    def _signature(self) -> _Signature:
        return tuple(map(_identity, self._files))


def _identity(file: Path) -> tuple[int, int, int, int] | None:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _contents(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise FileError(f"{file} can't be read: {error.strerror}") from error
