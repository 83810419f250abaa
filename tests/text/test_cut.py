import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.text._clean import clean_text
from llmrec.text._cut import longest_starts, units


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("two words", ["two", " words"]),
        ("一部 comedy片", ["一", "部", " comedy", "片"]),
        ("《Heat》。", ["《", "Heat", "》", "。"]),
        ("千と千尋", ["千", "と", "千", "尋"]),
        ("", []),
    ],
)
def test_a_text_may_be_cut_after_words_and_ideographs(text, pieces):
    assert units(text) == pieces


@given(st.text())
def test_the_pieces_joined_are_the_text(text):
    cleaned = clean_text(text)
    assert "".join(units(cleaned)) == cleaned


def shorter_than(size):
    return lambda asked: np.array([len(start) <= size for _, start in asked], np.bool_)


def test_the_longest_start_that_fits():
    assert longest_starts(["one two three", "一部电影", "", "one"], shorter_than(8), [False] * 4) == [
        "one two",
        "一部电影",
        "",
        "one",
    ]


def test_a_first_word_is_cut_only_where_that_is_allowed():
    assert longest_starts(["abcdef gh", "abcdef gh"], shorter_than(4), [True, False]) == ["abcd", ""]


def test_each_start_is_tried_for_the_text_it_belongs_to():
    sizes = np.array([9, 2, 3])

    def fits(asked):
        return np.array([len(start) <= sizes[place] for place, start in asked], np.bool_)

    assert longest_starts(["aa bb cc dd", "longword", "longword"], fits, [True] * 3) == ["aa bb cc", "lo", "lon"]
