from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

from vecserve_server.models.manifest import TOKENIZER_FILE
from vecserve_server.models.words import KnownWords, splits_at_spaces

# Of BERT's normalizers, each has its own way with accents and capitals.
_NORMALIZERS = {
    "lowercase": normalizers.BertNormalizer(lowercase=True),
    "as it is": normalizers.BertNormalizer(lowercase=False, strip_accents=False),
    "unclean": normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=False),
    "lowercase first": normalizers.Sequence([normalizers.Lowercase(), normalizers.BertNormalizer(lowercase=False)]),
    "none": None,
}

_WORDS = st.one_of(
    st.sampled_from(["the", "Cat", "sat,", "catnap", "xCATNAP", "Mat's", "mat's", "", "unbelievable", "mat" * 40]),
    st.sampled_from(["[MASK]", "x[SEP]y", "[CLS", "]", "<mask>", "x<mask>", "<MASK>"]),
    # Accents, spaces of other kinds, control characters, and letters whose capitals or parts are others.
    st.text("aBc.,-'[]\u0301\u0308\u0345\xa0\u200b\u2028\u3000\n\t\r\0\x0b\x1c\x85\ufffd", max_size=6),
    st.text("猫\u0130ß\u03a3\u03c3\u03c2\ufb01한\U0001f469\u0301", max_size=4),
    st.text(max_size=4),
)


@pytest.fixture(params=_NORMALIZERS)
def tokenizer(request: pytest.FixtureRequest, text_artifact: Path) -> Tokenizer:
    return _tokenizer(text_artifact, request.param)


def _tokenizer(text_artifact: Path, normalizer: str = "lowercase") -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(text_artifact / TOKENIZER_FILE))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.normalizer = _NORMALIZERS[normalizer]  # pyright: ignore[reportAttributeAccessIssue] (the stub has no setter)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, rstrip=True, single_word=True)])
    tokenizer.add_tokens([AddedToken("Catnap", normalized=True), AddedToken("Mat's", normalized=False)])
    return tokenizer


@given(lines=st.lists(st.lists(_WORDS, max_size=7), max_size=6))
def test_ids_are_the_tokenizers_own_while_words_are_learned_and_forgotten(
    lines: list[list[str]], text_artifact: Path
) -> None:
    for normalizer in _NORMALIZERS:
        tokenizer = _tokenizer(text_artifact, normalizer)
        words = KnownWords(tokenizer, 1, 1, most_words=12)
        for text in 2 * [" ".join(line) for line in lines]:
            ids = words.ids(text)
            if ids is not None:
                assert ids.tolist() == tokenizer.encode(text).ids


def test_a_text_with_few_new_words_is_known_at_once(tokenizer: Tokenizer) -> None:
    words = KnownWords(tokenizer, 1, 1, 1000)

    ids = words.ids("the cat sat the")

    assert ids is not None
    assert ids.tolist() == tokenizer.encode("the cat sat the").ids


def test_a_text_with_many_new_words_is_known_after_it_came_again(text_artifact: Path) -> None:
    words, text = KnownWords(_tokenizer(text_artifact), 1, 1, 1000), " ".join("abcdefghijk")

    known = [words.ids(text) is not None for _ in range(3)]

    assert known == [False, True, True]


def test_a_word_that_is_too_long_is_not_kept(text_artifact: Path) -> None:
    words = KnownWords(_tokenizer(text_artifact), 1, 1, 1000)

    assert words.ids("a" * 33) is None
    assert words.ids("a" * 33) is None


def test_words_are_forgotten_when_there_are_too_many(text_artifact: Path) -> None:
    words, text = KnownWords(_tokenizer(text_artifact), 1, 1, most_words=9), "a b c d e f g h i"
    for letter in text.split(" "):
        words.ids(letter)
    assert words.ids(text) is not None

    words.ids("j")

    assert words.ids(text) is None


def test_no_more_words_are_known_than_may_be(text_artifact: Path) -> None:
    words = KnownWords(_tokenizer(text_artifact), 1, 1, most_words=2)

    assert words.ids("a b c") is None
    assert words.ids("a b") is not None
    assert words.ids("a b c") is None


def test_words_are_learned_on_several_threads_at_once(text_artifact: Path) -> None:
    tokenizer = _tokenizer(text_artifact)
    words, texts = KnownWords(tokenizer, 1, 1, most_words=20), [f"the cat{n % 31} sat {n % 7}" for n in range(500)]
    expected = [tokenizer.encode(text).ids for text in texts]

    def check(_: int) -> None:
        for text, ids in zip(texts, expected, strict=True):
            found = words.ids(text)
            assert found is None or found.tolist() == ids

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(check, range(8)))


def test_bert_splits_at_spaces(tokenizer: Tokenizer) -> None:
    assert splits_at_spaces(tokenizer)


def test_a_tokenizer_that_may_look_past_a_space_does_not(text_artifact: Path) -> None:
    others = [_tokenizer(text_artifact) for _ in range(5)]
    others[0].pre_tokenizer = pre_tokenizers.Metaspace()  # pyright: ignore[reportAttributeAccessIssue]
    others[1].normalizer = normalizers.Strip()  # pyright: ignore[reportAttributeAccessIssue]
    others[2].model = models.WordLevel({"a": 0}, unk_token="a")  # pyright: ignore[reportAttributeAccessIssue]
    twice = processors.TemplateProcessing(single="[CLS] $A $A", special_tokens=[("[CLS]", 1)])
    others[3].post_processor = twice  # pyright: ignore[reportAttributeAccessIssue]
    others[4].normalizer = None  # pyright: ignore[reportAttributeAccessIssue]
    others[4].add_tokens([AddedToken("New York", normalized=False)])

    assert [splits_at_spaces(other) for other in others] == [False] * 5


@pytest.mark.parametrize("content", ["New York", "New\tYork", "New\xa0York", "\n", "\u200b"])
def test_a_tokenizer_that_looks_for_what_has_a_space_once_it_is_normalized_does_not(
    text_artifact: Path, content: str
) -> None:
    tokenizer = _tokenizer(text_artifact)
    tokenizer.add_tokens([AddedToken(content, normalized=True)])

    assert not splits_at_spaces(tokenizer)
