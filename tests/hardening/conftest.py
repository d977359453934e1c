"""A server of the example models, to be attacked."""

from collections.abc import Generator
from pathlib import Path

import pytest
from running_server import RunningServer, serving


@pytest.fixture(scope="package")
def attacked(example_models: Path) -> Generator[RunningServer]:
    """Bears everything that the tests of this folder do to it, ends in order, and logs no error."""
    with serving(example_models) as running:
        yield running
        assert running.stop() == 0
    faults = [line for line in running.log if " ERROR " in line or "Traceback" in line]
    assert not faults, "".join(running.log)
