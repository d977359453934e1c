import dataclasses
import errno
import io
import json
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import grpc
import numpy as np
import pytest
from scripted_server import DIGEST, DIMENSIONALITY, FIDELITY, Failure, Server, invalid, vector_of

import vecserve
from vecserve.cli import main
from vecserve.commands import delegates
from vecserve.commands.tables import cosines
from vecserve.v1 import embedding_service_pb2 as pb
from vecserve.v1 import model_service_pb2

Type = Callable[[bytes], None]


@pytest.fixture(autouse=True)
def address(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VECSERVE_ADDRESS", server.address)
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch) -> Type:
    """Puts bytes on stdin."""
    return lambda content: monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))


def run_apart(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_json_holds_everything_of_each_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["embed", "text", "--json", "--model", "m", "one", "t" * 101]) == 0

    printed = json.loads(capsys.readouterr().out)
    assert printed == {
        "model": {"name": "m", "version": "1", "digest": DIGEST},
        "dimensionality": DIMENSIONALITY,
        "normalized": True,
        "embeddings": [
            {"input": "one", "token_count": 3, "truncated": False, "vector": vector_of("one").tolist()},
            {"input": "t" * 101, "token_count": 3, "truncated": True, "vector": vector_of("t" * 101).tolist()},
        ],
    }


def test_json_prints_elements_in_their_shortest_form(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    tenth = np.full(DIMENSIONALITY, 0.1, "<f4")
    server.distort = lambda response: setattr(response.embeddings[0], "values", tenth.tobytes())

    main(["embed", "text", "--json", "a"])

    assert json.loads(capsys.readouterr().out)["embeddings"][0]["vector"] == [0.1] * DIMENSIONALITY


def test_options_reach_the_server(server: Server) -> None:
    options = "--model m --prompt query --truncation none --no-normalize --dimensionality 4 --dtype float16"
    main(["embed", "text", *options.split(), "--json", "a"])

    assert server.calls[0].request == pb.EmbedTextRequest(
        model="m",
        texts=["a"],
        prompt="query",
        truncation=pb.TRUNCATION_NONE,
        vector=pb.VectorOptions(
            dimensionality=4, element_type=pb.ELEMENT_TYPE_FLOAT16, normalization=pb.NORMALIZATION_NONE
        ),
    )


def test_timeout_and_batch_size_shape_the_requests(server: Server) -> None:
    main(["embed", "text", "--json", "--timeout", "50", "--batch-size", "1", "a", "b"])

    assert len(server.calls) == 2
    assert server.calls[0].time_remaining == pytest.approx(50, rel=0.2)


@pytest.mark.parametrize("dash", [[], ["-"]])
def test_texts_come_from_stdin_one_per_line_without_blank_ones(dash: list[str], server: Server, type_in: Type) -> None:
    type_in("first\n\n  \r\n indented\u2028separator\r\nlast".encode())

    main(["embed", "text", "--json", *dash])

    assert list(server.calls[0].request.texts) == ["first", " indented\u2028separator", "last"]


def test_an_empty_stdin_is_a_usage_error(type_in: Type, capsys: pytest.CaptureFixture[str]) -> None:
    type_in(b"\n\n")

    assert main(["embed", "text"]) == 2
    assert "nothing to embed" in capsys.readouterr().err


def test_a_line_that_is_not_utf8_is_numbered(type_in: Type, capsys: pytest.CaptureFixture[str]) -> None:
    type_in(b"fine\n\xff\n")

    assert main(["embed", "text"]) == 2
    assert "line 2" in capsys.readouterr().err


def test_images_come_from_paths_and_stdin(
    server: Server, type_in: Type, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(b"from a file")
    type_in(b"from stdin")

    assert main(["embed", "image", "--json", str(tmp_path / "a.png"), "-"]) == 0

    assert [image.content for image in server.calls[0].request.images] == [b"from a file", b"from stdin"]
    inputs = [embedding["input"] for embedding in json.loads(capsys.readouterr().out)["embeddings"]]
    assert inputs == [str(tmp_path / "a.png"), "-"]


def test_a_missing_image_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["embed", "image", "--json", "missing.jpg"]) == 1
    assert capsys.readouterr().err == "vecserve: missing.jpg: No such file or directory\n"


def test_output_writes_the_array_and_keeps_stdout_clean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.npy"

    assert main(["embed", "text", "--output", str(path), "a", "b"]) == 0

    np.testing.assert_array_equal(np.load(path), [vector_of("a"), vector_of("b")])
    out, err = capsys.readouterr()
    assert out == ""
    assert str(path) in err
    assert "(2, 8)" in err
    assert list(tmp_path.iterdir()) == [path]


def test_output_and_json_go_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["embed", "text", "--output", str(tmp_path / "x.npy"), "--json", "a"])

    assert json.loads(capsys.readouterr().out)["embeddings"][0]["input"] == "a"
    assert (tmp_path / "x.npy").exists()


def test_an_output_that_cannot_be_is_refused_before_the_server_is_asked(server: Server, tmp_path: Path) -> None:
    assert main(["embed", "text", "--output", str(tmp_path / "no" / "x.npy"), "a"]) == 2
    assert main(["embed", "text", "--output", str(tmp_path), "a"]) == 2
    assert server.calls == []


def test_an_output_that_fails_midway_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.npy").write_text("from before")

    def disk_full(file: BinaryIO, array: object) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("numpy.save", disk_full)

    assert main(["embed", "text", "--output", str(tmp_path / "x.npy"), "a"]) == 1
    assert "No space left" in capsys.readouterr().err
    assert [path.read_text() for path in tmp_path.iterdir()] == ["from before"]


def test_the_table_shows_each_text_what_computed_it_and_how_alike_they_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["embed", "text", "[b]markup[/b]", "long " * 30])

    shown = capsys.readouterr().out
    one, other = vector_of("[b]markup[/b]"), vector_of("long " * 30)
    assert "[b]markup[/b]" in shown
    assert f"{one[0]:.4f} " in shown
    assert f"{np.linalg.norm(one):.4g}" in shown
    assert "default version 1 (sha256:aaaaaaaaaaaa), 8 dimensions, unit length" in shown
    assert f"{one @ other / np.linalg.norm(one) / np.linalg.norm(other):.3f}" in shown


@pytest.mark.parametrize(("count", "shown"), [(1, False), (2, True), (12, True), (13, False)])
def test_similarities_are_shown_for_two_to_twelve(count: int, shown: bool, capsys: pytest.CaptureFixture[str]) -> None:
    main(["embed", "text", *map(str, range(count))])

    assert ("cosine" in capsys.readouterr().out) is shown


def test_the_table_lets_no_input_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    main(["embed", "text", "red \x1b[31m"])

    assert "\x1b" not in capsys.readouterr().out


def test_a_long_path_keeps_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    path = tmp_path / ("d" * 60) / "cat.jpg"
    path.parent.mkdir()
    path.write_bytes(b"x")

    main(["embed", "image", str(path)])

    assert "dddd/cat.jpg" in capsys.readouterr().out


def test_a_vector_of_zeros_has_no_cosine() -> None:
    similarities = cosines(np.array([[0, 0], [3, 4], [-6, -8]], np.float32))

    np.testing.assert_allclose(similarities[1:, 1:], [[1, -1], [-1, 1]])
    assert np.isnan(similarities[0]).all()


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
