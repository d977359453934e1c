from pathlib import Path

from running_server import serving

from hardening.messages import TEXT_MODEL
from hardening.soak import Soak, add_failing_model, soak


async def test_every_call_of_a_mixed_load_with_faults_is_accounted_for(example_models: Path, tmp_path: Path) -> None:
    add_failing_model(tmp_path, example_models)
    with serving(tmp_path, "--default-text-model", TEXT_MODEL) as server:
        result = await soak(server, 15)

        assert result.faults() == [], result.table()
        assert server.stop() == 0


def test_a_soak_tells_the_memory_by_quarters_and_since_two_minutes() -> None:
    memory = [100.0] * 120 + [800.0] * 60 + [1000.0] + [900.0] * 419 + [805.0] * 60

    told = Soak([], memory, []).table().splitlines()[-1]

    assert told == (
        "memory: 900 MiB in the second quarter, 900 in the last; 800 after two minutes, 805 at the end, 1000 at most"
    )
    assert Soak([], [5.0] * 100, []).table().endswith("memory: 5 MiB in the second quarter, 5 in the last")
