"""TOML that is written reads back equal, whatever it holds."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.cli.toml_text import write_toml

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
LEAVES = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), TEXT)
VALUES = st.recursive(
    LEAVES,
    lambda part: st.one_of(st.lists(part, max_size=3), st.dictionaries(TEXT, part, max_size=3)),
    max_leaves=8,
)


@given(st.dictionaries(TEXT, VALUES, max_size=4))
def test_what_is_written_reads_back(values):
    assert tomllib.loads(write_toml(values)) == values


def test_layout_comments_and_what_is_none():
    values = {"seed": 3, "none": None, "stages": [{"name": "first", "keep": 5, "ease": {"l2": 1.0}}], "data": {}}
    text = write_toml(values, "/".join)
    assert text.splitlines() == [
        "seed = 3  # seed",
        "# none: none  # none",
        "",
        "[[stages]]",
        'name = "first"  # stages/first/name',
        "keep = 5  # stages/first/keep",
        "",
        "[stages.ease]",
        "l2 = 1.0  # stages/first/ease/l2",
        "",
        "[data]",
    ]
    assert tomllib.loads(text)["stages"] == values["stages"]


def test_what_toml_lacks():
    with pytest.raises(TypeError, match="object"):
        write_toml({"a": object()})
