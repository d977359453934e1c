from pathlib import Path

from hardening.rolling import replace_two


def test_callers_notice_nothing_of_a_rolling_replacement(example_models: Path, tmp_path: Path) -> None:
    (tmp_path / "all-minilm-l6-v2").symlink_to(example_models / "all-minilm-l6-v2")

    callers = replace_two(tmp_path)

    assert [caller.failures for caller in callers] == [[]] * len(callers)
    assert all(caller.answered for caller in callers)
