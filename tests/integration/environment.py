"""Virtual environments of their own, for what is installed and what is not."""

import os
import subprocess
import sys
import venv
from pathlib import Path


class Environment:
    """A virtual environment with nothing but what is installed into it."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder)
        self.python = folder / "bin" / "python"

    def install(self, *requirements: str) -> None:
        """Installs with the tests' own pip, and leaves bytecode to the first start: both save time."""
        pip = [sys.executable, "-m", "pip", "--python", str(self.python), "--disable-pip-version-check"]
        _output([*pip, "install", "--quiet", "--no-compile", *requirements])

    def run(self, *arguments: str) -> str:
        return _output([str(self.python), *arguments])

    def has(self, module: str) -> bool:
        find = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
        return subprocess.run([self.python, "-c", find], check=False, env=_bare()).returncode == 0


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_bare())
    assert done.returncode == 0, done.stderr
    return done.stdout


def _bare() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
