import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from scripted_server import DIGEST, DIMENSIONALITY, Server, vector_of

from vecserve.cli import main
from vecserve.commands.tables import cosines
from vecserve.v1 import embedding_service_pb2 as pb

Type = Callable[[bytes], None]


pytestmark = pytest.mark.usefixtures("environment")


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
