from pathlib import Path

from running_server import serving

from hardening.messages import TEXT_MODEL
from hardening.soak import add_failing_model, soak


async def test_every_call_of_a_mixed_load_with_faults_is_accounted_for(example_models: Path, tmp_path: Path) -> None:
    add_failing_model(tmp_path, example_models)
    with serving(tmp_path, "--default-text-model", TEXT_MODEL) as server:
        result = await soak(server, 15)

        assert result.faults() == [], result.table()
        assert server.stop() == 0
