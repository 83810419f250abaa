"""Lists from files: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from llmrec.data import Catalog, Holdout, Vocab
from llmrec.errors import DataError, UnknownIdError
from llmrec.evaluate import read_lists, repeats_history
from llmrec.types import Queries

CATALOG = Catalog.from_table({"item_id": ["10", "11", "12", "13"]})
USERS = Vocab(("1", "2", "3", "4"))
HOLDOUT = Holdout(np.array([3, 0, 1]), Queries.from_lists([[0], [1], []]), np.array([1, 0, 2], dtype=np.int32))
ROWS = [("1", 2, "13"), ("4", 1, "12"), ("1", 1, "12"), ("3", 1, "10"), ("1", 3, "10")]


def write(path: Path, rows=ROWS, names=("user_id", "rank", "item_id"), **types) -> Path:
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    table = pa.table({name: pa.array(list(values), types.get(name)) for name, values in columns.items()})
    if path.suffix == ".csv":
        csv.write_csv(table, path)
    else:
        parquet.write_table(table, path)
    return path


@pytest.mark.parametrize("name", ["lists.parquet", "lists.csv"])
def test_lists_of_the_cases_in_their_order(tmp_path, name):
    found = read_lists(write(tmp_path / name), CATALOG, USERS, HOLDOUT)
    np.testing.assert_array_equal(found, [[2, -1, -1], [2, 3, 0], [-1, -1, -1]])
    assert found.dtype == np.int32


def test_ids_that_are_numbers_are_read_as_text(tmp_path):
    rows = [(int(user), rank, int(item)) for user, rank, item in ROWS]
    found = read_lists(write(tmp_path / "lists.parquet", rows), CATALOG, USERS, HOLDOUT)
    np.testing.assert_array_equal(found, [[2, -1, -1], [2, 3, 0], [-1, -1, -1]])


def test_other_columns_are_not_looked_at(tmp_path):
    rows = [(*row, 0.5) for row in ROWS]
    names = ("user_id", "rank", "item_id", "score")
    found = read_lists(write(tmp_path / "lists.parquet", rows, names), CATALOG, USERS, HOLDOUT)
    assert found.shape == (3, 3)


@pytest.mark.parametrize(
    ("rows", "error", "said"),
    [
        ([("1", 1, "99")], UnknownIdError, "'99'"),
        ([("9", 1, "10")], UnknownIdError, "'9'"),
        ([("3", 1, "10")], DataError, "no list for any of the 3 users"),
        ([("1", 57, "10")], DataError, r"user '1' has ranks other than 1, 2, \.\.\."),
        ([("1", 0, "10"), ("1", 1, "11")], DataError, "ranks other than"),
        ([("1", 1, "10"), ("1", 1, "11")], DataError, "ranks other than"),
        ([("1", 1, "10"), ("2", 1, "10"), ("2", 3, "11")], DataError, "user '2' has ranks other than"),
        ([("2", 1, "10"), ("1", 1, "10"), ("1", 2, "10")], DataError, "user '1' has an item twice"),
        ([("1", 1, None)], DataError, "column item_id of .* must hold an id in every row"),
        ([("1", None, "10")], DataError, "column rank of .* must hold a whole number"),
        ([("1", 1.0, "10")], DataError, "column rank of .* must hold a whole number"),
    ],
)
def test_what_is_refused(tmp_path, rows, error, said):
    with pytest.raises(error, match=said):
        read_lists(write(tmp_path / "lists.parquet", rows, rank=None, item_id=pa.string()), CATALOG, USERS, HOLDOUT)


def test_columns_must_be_there(tmp_path):
    path = write(tmp_path / "lists.parquet", ROWS, ("user", "rank", "item_id"))
    with pytest.raises(
        DataError, match="has no column user_id; lists need user_id, rank, item_id, this file has user,"
    ):
        read_lists(path, CATALOG, USERS, HOLDOUT)


def test_history_in_lists_is_found():
    assert not repeats_history(np.array([[1], [0], [2]], dtype=np.int32), HOLDOUT)
    assert repeats_history(np.array([[1], [1], [-1]], dtype=np.int32), HOLDOUT)


def test_what_is_unknown_is_said_with_its_column(tmp_path):
    path = write(tmp_path / "lists.parquet", [("nobody", 1, "a")])
    with pytest.raises(UnknownIdError, match=r"column user_id of .*lists\.parquet: .*'nobody'"):
        read_lists(path, CATALOG, USERS, HOLDOUT)


def test_a_file_of_no_list_says_so(tmp_path):
    path = tmp_path / "none.csv"
    path.write_text("user_id,rank,item_id\n")
    with pytest.raises(DataError, match=r"none\.csv holds no list"):
        read_lists(path, CATALOG, USERS, HOLDOUT)
