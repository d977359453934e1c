"""Virtual environments for what must not, or can't, be installed beside the server."""

import os
import subprocess
import venv
from pathlib import Path


class Environment:
    """A virtual environment with nothing but what is installed into it."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=True)
        self.python = folder / "bin" / "python"

    def install(self, *requirements: str) -> None:
        self.run("-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements)

    def run(self, *arguments: str) -> str:
        done = subprocess.run([self.python, *arguments], capture_output=True, text=True, check=False, env=_bare())
        assert done.returncode == 0, done.stderr
        return done.stdout

    def has(self, module: str) -> bool:
        find = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
        return subprocess.run([self.python, "-c", find], check=False, env=_bare()).returncode == 0


def _bare() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
