import datetime

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.data import Catalog
from llmrec.errors import DataError, UnknownIdError
from llmrec.testing.data import new_items, tiny_catalog
from llmrec.testing.strategies import catalogs
from llmrec.types import Item

ROWS = {"item_id": ["b", "a", "007"], "title": ["Toy Story", None, "Misérables, Les"], "year": [1995, 1996, None]}


def as_batches(table):
    return pa.RecordBatchReader.from_batches(table.schema, table.to_batches())


@pytest.mark.parametrize(
    "source",
    [
        ROWS,
        pa.table(ROWS),
        as_batches(pa.table(ROWS)),
        pd.DataFrame(ROWS, index=["x", "y", "z"]).astype({"title": "category", "year": "Int64"}),
        pl.DataFrame(ROWS),
        pl.DataFrame(ROWS).with_columns(pl.col("title").cast(pl.Categorical)),
        [{"item_id": i, "title": t, "year": y} for i, t, y in zip(*ROWS.values(), strict=True)],
    ],
    ids=["dict", "arrow", "stream", "pandas", "polars", "polars categories", "rows"],
)
def test_every_source_gives_the_same_catalog(source):
    catalog = Catalog.from_table(source)
    assert catalog.columns == ["item_id", "title", "year"]
    assert catalog.items.ids == ("b", "a", "007")
    assert catalog.fingerprint == Catalog.from_table(ROWS).fingerprint
    assert catalog.records(np.array([2, 1], np.int32)) == [
        {"item_id": "007", "title": "Misérables, Les", "year": None},
        {"item_id": "a", "title": None, "year": 1996},
    ]


def test_hugging_face_data_sets_honour_their_row_selection():
    datasets = pytest.importorskip("datasets")
    chosen = datasets.Dataset.from_dict(ROWS).select([2, 0])
    assert Catalog.from_table(chosen).items.ids == ("007", "b")
    assert Catalog.from_table(chosen.to_iterable_dataset()).items.ids == ("007", "b")
    with pytest.raises(DataError, match=r"it holds the splits train; give one of them, such as data\['train'\]"):
        Catalog.from_table(datasets.DatasetDict({"train": chosen}))


def test_whole_numbers_become_ids_without_a_fraction():
    assert Catalog.from_table({"item_id": [10, 2]}).items.ids == ("10", "2")
    assert Catalog.from_table(pd.DataFrame({"item_id": [10.0, 2.0]})).items.ids == ("10", "2")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"id": ["a"]}, r"no column 'item_id'; its columns are \['id'\]"),
        ({"item_id": ["a", None]}, "no id in 1 rows, first in row 2"),
        ({"item_id": ["a", ""]}, "empty id in row 2"),
        ({"item_id": [1.0, 2.5]}, "holds 2.5 in row 2"),
        ({"item_id": [True]}, "type bool"),
        ({"item_id": ["a", "b", "a"]}, "1 ids in more than one row, among them 'a'"),
        ({"item_id": pa.array([], pa.string())}, "at least one item"),
        (pd.DataFrame({"item_id": ["a", "b"], "x": [1, "one"]}), "DataFrame"),
        ("items.csv", "cannot read the catalog from a str"),
    ],
)
def test_bad_tables_are_refused(table, message):
    with pytest.raises(DataError, match=message):
        Catalog.from_table(table)


def test_two_columns_of_one_name_are_refused():
    table = pa.table([pa.array(["a"]), pa.array(["x"]), pa.array(["y"])], names=["item_id", "t", "t"])
    with pytest.raises(DataError, match="two columns of one name"):
        Catalog.from_table(table)


def test_id_column_and_fields_can_be_renamed():
    catalog = Catalog.from_table({"name": ["Toy"], "asin": ["B1"]}, id_column="asin", rename={"name": "title"})
    assert catalog.records(np.array([0], np.int32)) == [{"item_id": "B1", "title": "Toy"}]
    with pytest.raises(DataError, match="no column 'nome'"):
        Catalog.from_table({"item_id": ["a"]}, rename={"nome": "title"})
    with pytest.raises(DataError, match="rename the field"):
        Catalog.from_table({"asin": ["B1"], "item_id": ["x"]}, id_column="asin")


def test_from_file_keeps_leading_zeros(tmp_path):
    path = tmp_path / "items.csv"
    path.write_text('item_id,title\n007,"Bond, James"\n7,NA\n8,\n', encoding="utf-8")
    catalog = Catalog.from_file(path)
    assert catalog.items.ids == ("007", "7", "8")
    assert [r["title"] for r in catalog.records(np.arange(3, dtype=np.int32))] == ["Bond, James", "NA", None]


def test_new_items_come_last_and_leave_the_old_catalog_alone():
    catalog = tiny_catalog()
    longer = catalog.with_items(new_items(2))
    assert len(catalog) == 12
    assert longer.items.ids == (*catalog.items.ids, "new0", "new1")
    assert longer.active.tolist() == [True] * 14
    assert longer.records(np.array([13], np.int32)) == [
        {"item_id": "new1", "title": "only a title", "year": None, "genres": None}
    ]
    assert longer.tie_order.tolist() == Catalog.from_table(longer.table).tie_order.tolist()
    assert longer.fingerprint != catalog.fingerprint


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([Item("i3", {})], "already in the catalog.*'i3'"),
        ([Item("x", {}), Item("x", {})], r"1 item ids are given more than once, among them \['x'\]"),
        ([Item("x", {"titel": "?"})], r"unknown fields \['titel'\]; the catalog has \['title', 'year', 'genres'\]"),
        ([Item("x", {"year": "soon"})], "'year' does not fit the catalog's type int64"),
        ([Item("x", {"year": 2**70})], "'year' does not fit the catalog's type int64"),
        ([Item("x", {"title": "\ud800"})], "'title' does not fit the catalog's type string"),
        ([Item("", {})], "empty id"),
    ],
)
def test_bad_new_items_are_refused(items, message):
    catalog = tiny_catalog()
    with pytest.raises(DataError, match=message):
        catalog.with_items(items)
    assert catalog.fingerprint == tiny_catalog().fingerprint


def test_only_the_given_fields_change_and_the_old_catalog_stays():
    catalog = tiny_catalog()
    changed = catalog.with_changes([Item("i7", {"title": "renamed"}), Item("i2", {"year": 2030, "genres": None})])
    assert catalog.fingerprint == tiny_catalog().fingerprint
    wanted = catalog.records(np.arange(12, dtype=np.int32))
    wanted[7] |= {"title": "renamed"}
    wanted[2] |= {"year": 2030, "genres": None}
    assert changed.records(np.arange(12, dtype=np.int32)) == wanted
    assert changed.table.schema == catalog.table.schema
    assert changed.fingerprint != catalog.fingerprint
    assert changed.items is catalog.items
    assert changed.with_changes([]).fingerprint == changed.fingerprint


@pytest.mark.parametrize(
    ("items", "error", "message"),
    [
        ([Item("i99", {})], UnknownIdError, "the nearest known id is 'i9'"),
        ([Item("i3", {"titel": "?"})], DataError, r"'i3' has unknown fields \['titel'\]"),
        ([Item("i3", {"item_id": "i4"})], DataError, r"unknown fields \['item_id'\]"),
        ([Item("i3", {"year": "soon"})], DataError, "'year' does not fit"),
        ([Item("i3", {}), Item("i3", {})], DataError, "more than once"),
        ([Item("i5", {"year": 1})], DataError, "'i5'; to bring one back, add it again"),
        ("i3", DataError, "must be a list of Item"),
    ],
)
def test_bad_changes_are_refused(items, error, message):
    catalog = tiny_catalog().without_items(["i5"])
    with pytest.raises(error, match=message):
        catalog.with_changes(items)


def test_rows_of_a_table_become_items():
    catalog = tiny_catalog()
    table = pl.DataFrame({"id": [7, 8], "year": ["1999", None], "title": [42, None]})
    items = catalog.items_of(table, id_column="id")
    assert items == [Item("7", {"year": 1999, "title": "42"}), Item("8", {})]
    for bad, message in (
        ({"title": ["x"]}, "no column 'item_id'"),
        ({"item_id": ["x"], "titel": ["x"]}, r"unknown columns \['titel'\]"),
        ({"item_id": ["x"], "year": ["soon"]}, "column 'year' cannot be read as int64"),
    ):
        with pytest.raises(DataError, match=message):
            catalog.items_of(bad)


def test_a_catalog_stays_in_one_piece():
    """Taking rows of a column in pieces copies the whole column, for every text that is rendered."""
    pieces = pa.concat_tables([pa.table({"item_id": [f"x{k}"], "title": ["t"]}) for k in range(5)])
    catalog = Catalog.from_table(pieces)
    changed = catalog.with_items([Item("y", {}), Item("z", {})]).with_changes([Item("x3", {"title": "u"})])
    for it in (catalog, changed, changed.without_items(["x1"]).with_items([Item("x1", {"title": "back"})])):
        assert [column.num_chunks for column in it.table.columns] == [1, 1]


def test_removed_items_keep_their_row_and_their_id():
    catalog = tiny_catalog().without_items(["i2", "i5"])
    assert np.flatnonzero(~catalog.active).tolist() == [2, 5]
    assert catalog.items.rows(["i2"]).tolist() == [2]
    assert tiny_catalog().active.all()
    assert catalog.without_items(["i2"]).active.tolist() == catalog.active.tolist()
    with pytest.raises(UnknownIdError, match="nearest"):
        catalog.without_items(["i99"])


def test_a_removed_item_comes_back_in_its_row_with_the_fields_given_then():
    gone = tiny_catalog().without_items(["i2", "i5"])
    back = gone.with_items([Item("a", {"title": "a"}), Item("i5", {"title": "five"}), Item("b", {"title": "b"})])
    assert back.items.ids == (*gone.items.ids, "a", "b")
    assert np.flatnonzero(~back.active).tolist() == [2]
    rows = back.items.rows(["i5", "a", "b"])
    assert rows.tolist() == [5, 12, 13]
    assert [record["title"] for record in back.records(rows)] == ["five", "a", "b"]
    assert back.records(rows)[0]["year"] is None
    assert np.flatnonzero(~gone.active).tolist() == [2, 5]
    assert back.tie_order.tolist() == Catalog.from_table(back.table).tie_order.tolist()


def test_tie_order_is_a_fixed_hash_of_the_id_alone():
    order = Catalog.from_table({"item_id": ["a", "b"]}).tie_order
    assert order.dtype == np.uint64
    # BLAKE2b of "a" and "b", 8 bytes, little endian: must never change, or saved bundles would rank otherwise.
    assert order.tolist() == [3405396810240292928, 8453121595177857668]
    assert Catalog.from_table({"item_id": ["b", "c", "a"]}).tie_order[[2, 0]].tolist() == order.tolist()


def test_fingerprint_sees_ids_values_and_types():
    base = Catalog.from_table({"item_id": ["a", "b"], "year": ["1995", "1996"]})
    others = [
        {"item_id": ["a", "c"], "year": ["1995", "1996"]},
        {"item_id": ["b", "a"], "year": ["1996", "1995"]},
        {"item_id": ["a", "b"], "year": ["1995", "1997"]},
        {"item_id": ["a", "b"], "year": [1995, 1996]},
        {"item_id": ["a", "b"], "date": ["1995", "1996"]},
    ]
    prints = {Catalog.from_table(other).fingerprint for other in others}
    assert len(prints | {base.fingerprint}) == 6


@settings(deadline=None, max_examples=40)
@given(catalogs(), st.data())
def test_state_round_trip(catalog, data):
    gone = data.draw(st.lists(st.sampled_from(catalog.items.ids), unique=True))
    catalog = catalog.without_items(gone)
    back = Catalog.from_state(catalog.state())
    assert back.table.equals(catalog.table)
    assert back.items == catalog.items
    assert back.active.tolist() == catalog.active.tolist()
    assert back.tie_order.tolist() == catalog.tie_order.tolist()
    assert back.fingerprint == catalog.fingerprint


def test_damaged_state_is_refused():
    state = tiny_catalog().state()
    with pytest.raises(DataError, match="damaged"):
        Catalog.from_state(type(state)(arrays={**state.arrays, "table": state.arrays["table"][:40]}))
    with pytest.raises(DataError, match="active flags"):
        Catalog.from_state(type(state)(arrays={**state.arrays, "active": np.ones(3, dtype=np.bool_)}))


def test_dates_and_lists_are_fields_like_any_other():
    table = {"item_id": ["a"], "tags": [["x", "y"]], "out": [datetime.date(2020, 1, 2)]}
    catalog = Catalog.from_table(table)
    assert catalog.records(np.array([0], np.int32)) == [{"item_id": "a", "tags": ["x", "y"], "out": table["out"][0]}]
    assert Catalog.from_state(catalog.state()).fingerprint == catalog.fingerprint


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([Item(5, {"title": "x"})], r"an item's id is text, got 5; write Item\('5', \.\.\.\)"),
        (Item("5", {}), "must be a list of Item, got one Item"),
        ("5", "must be a list of Item, got one string"),
        (["5"], "must be a list of Item, got '5' in it"),
    ],
)
def test_items_that_are_none_are_refused(items, message):
    with pytest.raises(DataError, match=message):
        Catalog.from_table(ROWS).with_items(items)


def test_taking_out_one_string_is_refused():
    with pytest.raises(DataError, match="must be a list of ids, got one string"):
        Catalog.from_table(ROWS).without_items("a")


def test_repr_is_short():
    catalog = Catalog.from_table(ROWS)
    assert repr(catalog) == "Catalog(3 items, columns: item_id, title, year)"
    assert repr(catalog.items) == "Vocab(3 ids)"
