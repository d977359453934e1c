import dataclasses
import json
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from scripted_server import FIDELITY, Failure, Server, invalid

import vecserve
from vecserve.cli import main
from vecserve.commands import delegates
from vecserve.v1 import model_service_pb2

Type = Callable[[bytes], None]


pytestmark = pytest.mark.usefixtures("environment")


def run_apart(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def models(server: Server) -> list[model_service_pb2.Model]:
    server.models = [
        model_service_pb2.Model(
            name="minilm",
            version="2",
            modality=model_service_pb2.MODALITY_TEXT,
            dimensionality=384,
            precision="int8",
            execution_provider="CPUExecutionProvider",
            source="package:minilm",
            default=True,
            prompts={"query": "query: "},
            fidelity=model_service_pb2.Fidelity(**FIDELITY),
        ),
        model_service_pb2.Model(name="resnet50", modality=model_service_pb2.MODALITY_IMAGE),
    ]
    return server.models


@pytest.mark.usefixtures("models")
def test_models_lists_a_row_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0

    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["minilm", "2", "text", "int8", "CPU", "yes", "384"] in rows
    assert ["resnet50", "image", "no", "0"] in rows


@pytest.mark.usefixtures("models")
def test_models_verbose_shows_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    main(["models", "--verbose"])

    shown = capsys.readouterr().out
    assert all(field.replace("_", " ") in shown for field in vecserve.ModelInfo.__dataclass_fields__)
    assert "package:minilm" in shown
    assert "query: 'query: '" in shown
    rows = [" ".join(line.split()) for line in shown.splitlines()]
    assert "fidelity against fp32 PyTorch, 256 probes (texts-1)" in rows
    assert "cosine: min 0.984000, p1 0.990000, mean 0.998000" in rows
    assert "ten nearest: 94.5% kept" in rows
    assert "alone or batched: off by 3e-08, cosine min 1.000000" in rows
    assert rows.count("fidelity unknown") == 1


@pytest.mark.usefixtures("models")
def test_models_json_holds_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    main(["models", "--json"])

    printed = json.loads(capsys.readouterr().out)["models"]
    assert [model["name"] for model in printed] == ["minilm", "resnet50"]
    assert printed[0].keys() == vecserve.ModelInfo.__dataclass_fields__.keys()
    assert printed[0]["prompts"] == {"query": "query: "}
    assert printed[0]["fidelity"] == FIDELITY
    assert printed[1]["fidelity"] is None


def test_violations_are_listed_a_line_each(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.script = lambda request, context: invalid({"texts[0]": "is empty", "texts[1]": "is too long"})

    assert main(["embed", "text", "--json", "a", "b"]) == 1

    out, err = capsys.readouterr()
    assert out == ""
    assert "  texts[0]: is empty\n  texts[1]: is too long\n" in err
    assert server.calls[0].metadata["x-request-id"] in err


def test_a_violation_that_the_message_tells_is_not_repeated(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    refusal = invalid({"texts[0]": "is empty"})
    server.script = lambda request, context: dataclasses.replace(refusal, message="texts[0] is empty")

    main(["embed", "text", "--json", "a"])

    assert capsys.readouterr().err.count("is empty") == 1


def test_other_failures_are_one_message(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.script = lambda request, context: Failure(grpc.StatusCode.NOT_FOUND, message="no model m")

    assert main(["models"]) == 1
    assert capsys.readouterr().err.startswith("vecserve: no model m\n")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["embed"],
        ["embed", "image"],
        ["embed", "text", "--timeout", "0", "a"],
        ["embed", "text", "--dimensionality", "0", "a"],
        ["embed", "text", "--dtype", "float64", "a"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_an_address_that_is_none_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--address", "http://localhost:1"]) == 2
    assert "HOST:PORT" in capsys.readouterr().err


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"vecserve {vecserve.__version__}\n"


@pytest.mark.parametrize(("command", "module"), [("serve", "vecserve_server.cli"), ("export", "vecserve_export.cli")])
def test_serve_and_export_get_their_arguments_unparsed(
    command: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    received: list[list[str]] = []

    def stand_in(argv: list[str]) -> int:
        received.append(argv)
        return 7

    monkeypatch.setitem(sys.modules, module, types.SimpleNamespace(main=stand_in))

    assert main([command, "--help", "--models", "dir"]) == 7
    assert received == [["--help", "--models", "dir"]]


def test_a_missing_extra_is_named_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "serving.py").write_text("import a_runtime_that_is_missing")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(delegates.DELEGATES, "serve", delegates.Delegate("serving", "server,cpu", ""))

    assert main(["serve"]) == 2
    assert capsys.readouterr().err == (
        "vecserve serve needs a_runtime_that_is_missing, which isn't installed: pip install 'vecserve[server,cpu]'\n"
    )


def test_a_broken_installation_of_our_own_is_not_taken_for_a_missing_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(delegates.DELEGATES, "serve", delegates.Delegate("vecserve_gone", "server,cpu", ""))

    with pytest.raises(ModuleNotFoundError):
        main(["serve"])


def test_without_rich_tables_say_what_to_install_and_json_works(server: Server) -> None:
    without_rich = "import sys; sys.modules['rich'] = None; from vecserve.cli import main; sys.exit(main({}))"

    table = run_apart(without_rich.format(["embed", "text", "a"]))
    as_json = run_apart(without_rich.format(["embed", "text", "--json", "a"]))

    assert table.returncode == 2
    assert table.stderr.count("\n") == 1
    assert "pip install 'vecserve[cli]'" in table.stderr
    assert "--json" in table.stderr
    assert as_json.returncode == 0
    assert len(server.calls) == 1  # the table was given up before the server was asked


def test_an_interrupt_exits_with_130(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vecserve.commands.output.print_json", interrupted)

    assert main(["embed", "text", "--json", "a"]) == 130


def test_a_reader_that_stops_early_is_no_error() -> None:
    code = "import sys; from vecserve.cli import main; sys.exit(main(['embed', 'text', '--json', 'a']))"

    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}

    process = subprocess.Popen(
        [sys.executable, "-c", code], env=buffered, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=60)

    assert (process.returncode, err) == (141, b"")
