import numpy as np
import pytest

from vecserve_bench.distributions import BatchSizes, Lengths


def test_lengths_are_log_normal_within_their_bounds() -> None:
    drawn = np.array(Lengths.parse("32:0.9:4-254").draw(50_000, np.random.default_rng(0)))

    assert (drawn.min(), drawn.max()) == (4, 254)
    assert np.median(drawn) == 32
    assert np.log(drawn[(drawn > 4) & (drawn < 254)]).std() == pytest.approx(0.9, rel=0.1)


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("32", Lengths(32)),
        ("20.5:0", Lengths(20.5, 0)),
        ("32:1.2:8-128", Lengths(32, 1.2, 8, 128)),
        ("32:8-128", Lengths(32, 0.9, 8, 128)),
    ],
)
def test_lengths_are_read_and_written(text: str, lengths: Lengths) -> None:
    assert Lengths.parse(text) == lengths
    assert Lengths.parse(str(lengths)) == lengths


@pytest.mark.parametrize("text", ["", "x", "32:", "32:1:9", "-3", "300", "8:1:9-100", "1..5"])
def test_what_are_no_lengths_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"lengths|float"):
        Lengths.parse(text)


def test_batch_sizes_come_as_often_as_they_weigh() -> None:
    sizes = BatchSizes.parse("1:70,8:20,32:10")
    drawn = np.array(sizes.draw(50_000, np.random.default_rng(0)))

    assert sizes.mean == pytest.approx(5.5)
    assert [np.mean(drawn == size) for size in (1, 8, 32)] == pytest.approx([0.7, 0.2, 0.1], abs=0.01)


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("8", BatchSizes((8,), (1,))),
        ("2-4", BatchSizes((2, 3, 4), (1, 1, 1))),
        ("1:3,8:1.5", BatchSizes((1, 8), (3, 1.5))),
    ],
)
def test_batch_sizes_are_read_and_written(text: str, sizes: BatchSizes) -> None:
    assert BatchSizes.parse(text) == sizes
    assert str(sizes) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "batch sizes are N"),
        ("a", "batch sizes are N"),
        ("1:2:3", "batch sizes are N"),
        ("0", "at least one input"),
        ("5-3", "at least one input"),
        ("1:0", "weights of batch sizes must be positive"),
        ("1:nan", "weights of batch sizes must be positive"),
    ],
)
def test_what_are_no_batch_sizes_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BatchSizes.parse(text)
