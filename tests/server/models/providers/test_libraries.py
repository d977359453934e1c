from pathlib import Path

import pytest

from vecserve_server.models.providers.libraries import lacking, missing_libraries, runtime_library, unloadable


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """One of ONNX Runtime's libraries, linked to a library and to another that don't exist."""
    content = runtime_library("libonnxruntime_providers_shared.so").read_bytes()
    assert content.count(b"libc.so.6") >= 1
    file = tmp_path / "library.so"
    file.write_bytes(content.replace(b"libc.so.6", b"libc.so.0"))
    return file


def test_a_library_that_loads_lacks_nothing() -> None:
    assert missing_libraries(runtime_library("libonnxruntime_providers_shared.so")) == []


def test_a_library_is_named_that_another_is_linked_to(broken: Path) -> None:
    assert missing_libraries(broken) == ["libc.so.0"]


def test_without_ldd_the_linkers_own_message_names_it(
    broken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    (message,) = missing_libraries(broken)

    assert message.startswith("libc.so.0: cannot open shared object file")


def test_a_file_that_is_not_there_is_missing_itself(tmp_path: Path) -> None:
    (message,) = missing_libraries(tmp_path / "nothing.so")

    assert message.startswith(f"{tmp_path}/nothing.so: cannot open shared object file")


def test_libraries_are_told_apart_by_whether_they_load() -> None:
    assert unloadable(["libm.so.6", "libnothing.so.1"]) == ["libnothing.so.1"]


@pytest.mark.parametrize(
    ("names", "said"),
    [(["a"], "a is missing"), (["a", "b"], "a and b are missing"), (["a", "b", "c"], "a, b and c are missing")],
)
def test_missing_libraries_are_listed_in_words(names: list[str], said: str) -> None:
    assert lacking(names) == said
