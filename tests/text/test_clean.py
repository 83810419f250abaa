from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.text._clean import clean_text, clean_value


@given(st.text(alphabet=st.characters()))
def test_clean_text_has_no_control_characters_no_runs_of_space_and_is_stable(text):
    cleaned = clean_text(text)
    assert cleaned == cleaned.strip()
    assert "  " not in cleaned
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u2028\u2029" for c in cleaned)
    assert clean_text(cleaned) == cleaned
    cleaned.encode("utf-8")


@given(st.text(alphabet=st.characters(categories=("L", "N", "P", "S")), min_size=1))
def test_letters_digits_and_signs_stay_as_they_are(text):
    assert clean_text(text) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Toy\r\n\tStory\x00 ", "Toy Story"),
        ("a\ud800b", "a b"),
        ("Misérables, Les", "Misérables, Les"),
        (None, ""),
        ({"red", "blue", "zoo", ""}, "blue, red, zoo"),  # the order of a set changes from run to run
        (float("nan"), ""),
        (np.float32("nan"), ""),
        (np.int64(7), "7"),
        (1995.0, "1995"),
        (0.5, "0.5"),
        (float("inf"), "inf"),
        (0, "0"),
        (True, "True"),
        (["Action\n", None, "Comedy"], "Action, Comedy"),
        (date(2020, 1, 2), "2020-01-02"),
    ],
)
def test_values_become_text(value, text):
    assert clean_value(value) == text
