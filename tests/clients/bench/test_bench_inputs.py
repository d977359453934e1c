import io
from pathlib import Path

import pytest
from PIL import Image
from tokenizers import Tokenizer

from vecserve_bench import inputs
from vecserve_bench.batches import batches
from vecserve_bench.distributions import BatchSizes, Lengths


def test_made_up_texts_have_two_tokens_more_than_words(example_models: Path) -> None:
    tokenizer = Tokenizer.from_file(str(example_models / "all-minilm-l6-v2" / "1" / "tokenizer.json"))
    tokenizer.no_padding()
    drawn = inputs.drawn_texts(Lengths(60, 0.5, 10, 120), count=50)

    for text in drawn.items:
        assert len(tokenizer.encode(text.decode()).ids) == len(text.split()) + 2


def test_the_same_seed_draws_the_same_texts_and_images() -> None:
    lengths = Lengths(8)

    assert inputs.drawn_texts(lengths, 20, seed=1) == inputs.drawn_texts(lengths, 20, seed=1)
    assert inputs.drawn_texts(lengths, 20, seed=1) != inputs.drawn_texts(lengths, 20, seed=2)
    assert inputs.drawn_images(60, 40, 2, seed=1) == inputs.drawn_images(60, 40, 2, seed=1)


def test_a_files_lines_are_texts_without_the_blank_ones(tmp_path: Path) -> None:
    path = tmp_path / "titles.txt"
    path.write_text("one\n\n  two  \r\nthrée\n", "utf-8")

    assert inputs.texts_of(path).items == [b"one", b"two", "thrée".encode()]


@pytest.mark.parametrize(
    ("content", "message"), [(b"ab\xff", "isn't UTF-8: invalid start byte at byte 2"), (b"\n \n", "has no text")]
)
def test_a_file_without_texts_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "titles.txt"
    path.write_bytes(content)

    with pytest.raises(ValueError, match=message):
        inputs.texts_of(path)


def test_a_folders_images_are_found_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    for name in ("b.JPG", "a.png", "more/c.webp", "notes.txt"):
        (tmp_path / name).write_bytes(name.encode())

    assert inputs.images_of(tmp_path).items == [b"a.png", b"b.JPG", b"more/c.webp"]


def test_no_more_images_are_read_than_memory_is_meant_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "MAX_BYTES", 150)
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes(bytes(100))

    found = inputs.images_of(tmp_path)

    assert len(found.items) == 2
    assert "the first 2 of 3 images" in found.description


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no image: files that end in"):
        inputs.images_of(tmp_path)
    with pytest.raises(NotADirectoryError):
        inputs.images_of(tmp_path / "missing")


def test_made_up_images_are_jpegs_of_their_size() -> None:
    drawn = inputs.drawn_images(320, 200, count=2)

    for content in drawn.items:
        with Image.open(io.BytesIO(content)) as image:
            assert (image.format, image.size) == ("JPEG", (320, 200))
    assert drawn.items[0] != drawn.items[1]


def test_calls_of_one_size_have_every_input_once() -> None:
    items = [bytes([n]) for n in range(7)]

    calls = batches(items, BatchSizes.parse("3")).calls

    assert [len(call) for call in calls] == [3, 3, 3]
    assert [each for call in calls for each in call][:7] == items


def test_one_text_of_one_size_is_one_call() -> None:
    assert batches([b"text"], BatchSizes.parse("4")).calls == [[b"text"] * 4]


def test_calls_of_drawn_sizes_are_many_and_have_every_input() -> None:
    items = [str(n).encode() for n in range(3000)]

    grouped = batches(items, BatchSizes.parse("1:1,4:1"))

    assert len(grouped.calls) >= 512
    assert {each for call in grouped.calls for each in call} == set(items)
    assert grouped.left_out == 0


def test_inputs_beyond_the_memory_are_left_out_and_counted() -> None:
    grouped = batches([bytes(100)] * 10, BatchSizes.parse("2"), max_bytes=500)

    assert [len(call) for call in grouped.calls] == [2, 2]
    assert grouped.left_out == 6


def test_a_call_that_is_too_large_by_itself_is_sent_all_the_same() -> None:
    assert len(batches([bytes(100)], BatchSizes.parse("1"), max_bytes=10).calls) == 1
