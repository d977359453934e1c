from pathlib import Path

import pytest
from running_server import serving

from hardening.draining import drain


@pytest.mark.parametrize("time", [1, 2])
async def test_sigterm_under_full_load_loses_no_call(example_models: Path, tmp_path: Path, time: int) -> None:
    (tmp_path / "all-minilm-l6-v2").symlink_to(example_models / "all-minilm-l6-v2")
    with serving(tmp_path) as server:
        drained = await drain(server)
    assert drained.faults() == []
