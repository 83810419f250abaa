import hypothesis.strategies as st
import pytest
from hypothesis import given

from llmrec.retrieve.words import split_words


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("The Lord of the Rings: part_2 (2002)", "auto", ["the", "lord", "of", "the", "rings", "part", "2", "2002"]),
        ("STRASSE Straße \ufb01lm \uff26\uff55ll", "auto", ["strasse", "strasse", "film", "full"]),
        ("东京物语 Tokyo物語2 も 한국어", "auto", ["东京", "京物", "物语", "tokyo", "物語", "2", "も", "한국", "국어"]),
        ("东京物语 Tokyo物語", "words", ["东京物语", "tokyo物語"]),
        ("Red x ox", "bigrams", ["re", "ed", "x", "ox"]),
        ("Привет, мир!", "auto", ["привет", "мир"]),
        ("", "auto", []),
        ("-- _ !", "bigrams", []),
    ],
)
def test_words_by_hand(text, kind, words):
    assert split_words(text, kind) == words


@given(st.text(), st.sampled_from(["auto", "words", "bigrams"]))
def test_words_split_into_themselves(text, kind):
    words = split_words(text, kind)
    assert all(words)
    assert not any("\n" in word or word != word.strip() for word in words)  # bundles keep them one a line
    if kind != "bigrams":
        assert split_words(" ".join(words), kind) == words
