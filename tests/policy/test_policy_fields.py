import datetime

import numpy as np
import pyarrow as pa
import pytest

from llmrec.data import Catalog
from llmrec.errors import ConfigError
from llmrec.policy.fields import FieldValues, value_text
from llmrec.types import Item


def read(column, separator=None):
    n = len(column)
    return FieldValues.read(
        Catalog.from_table({"item_id": [f"i{r}" for r in range(n)], "f": column}), "f", separator, "p"
    )


def texts(values):
    names = list(values.codes)
    return [[names[code] for code in values.rows[row]] for row in range(len(values.rows))]


@pytest.mark.parametrize(
    ("column", "separator", "expected"),
    [
        (["a|b", " b | a |", None, "", "|", "a|a"], "|", [["a", "b"], ["b", "a"], [], [], [], ["a"]]),
        (["a|b", "a"], None, [["a|b"], ["a"]]),
        ([True, False, None], None, [["true"], ["false"], []]),
        ([1995, None, -2], None, [["1995"], [], ["-2"]]),
        ([1995.0, 2.5, float("nan")], None, [["1995"], ["2.5"], []]),
        (pa.array([["x", "y"], [], None, ["y", "y|z"]]), "|", [["x", "y"], [], [], ["y", "z"]]),
        ([datetime.date(2020, 1, 2)], "-", [["2020-01-02"]]),
    ],
)
def test_values_of_every_kind_of_column(column, separator, expected):
    assert texts(read(column, separator)) == expected


def test_settings_are_compared_as_the_column_is_read():
    assert [value_text(v) for v in (True, "true", 3, 3.0, "3", 0.5)] == ["true", "true", "3", "3", "3", "0.5"]
    assert read([True, False, None]).have_any([True]).tolist() == [True, False, False]
    assert read([3, 4, 5]).have_any([3.0, "5", 99]).tolist() == [True, False, True]
    assert read([3, 4]).missing([4, 5, "x"]) == ["5", "x"]
    assert not read(["a"]).have_any([]).any()


def test_growing_and_changing_read_only_what_is_new():
    catalog = Catalog.from_table({"item_id": ["a", "b", "c"], "f": ["x", "y z", None]})
    values = FieldValues.read(catalog, "f", " ", "p")
    changed = catalog.with_changes([Item("b", {"f": "z w"})]).with_items([Item("d", {"f": "v x"}), Item("e", {})])
    later = values.with_items(changed, np.int32([1]))
    assert texts(later) == [["x"], ["z", "w"], [], ["v", "x"], []]
    assert texts(values) == [["x"], ["y", "z"], []]
    assert later.have_any(["y"]).tolist() == [False] * 5


def test_an_unknown_field_is_refused_with_the_known_ones():
    catalog = Catalog.from_table({"item_id": ["a"], "genres": ["x"], "year": [1]})
    with pytest.raises(ConfigError, match="shelf: the catalog has no field 'genre'; it has: genres, year"):
        FieldValues.read(catalog, "genre", None, "shelf")
    with pytest.raises(ConfigError, match="no field 'item_id'"):
        FieldValues.read(catalog, "item_id", None, "shelf")
