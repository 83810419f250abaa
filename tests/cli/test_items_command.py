"""`llmrec items add`, `change` and `delete`."""

from __future__ import annotations

import json
import shutil

import pytest

import llmrec

KEYS = {"bundle", "added", "restored", "changed", "deleted", "items"}


@pytest.fixture
def bundle(text_bundle, tmp_path):
    return shutil.copytree(text_bundle, tmp_path / "b")


def record(bundle, item_id):
    catalog = llmrec.load(bundle).catalog
    return catalog.records(catalog.items.rows([item_id]))[0]


def test_items_from_a_file_are_found_at_once(run, bundle, tmp_path):
    (tmp_path / "new.csv").write_text('item_id,title,year\n007,"Bond, James",1962\nx9,Volcano,\n', encoding="utf-8")
    result = run("items", "add", "--bundle", bundle, tmp_path / "new.csv", "--json")
    assert result.code == 0, result.err
    assert result.json == {
        "bundle": str(bundle), "added": ["007", "x9"], "restored": [], "changed": [], "deleted": [], "items": 32
    }  # fmt: skip
    assert record(bundle, "007") == {"item_id": "007", "title": "Bond, James", "year": 1962, "genres": None}
    found = run("search", "--bundle", bundle, "Bond, James", "--k", 32, "--json").json[0]["items"]
    assert "007" in [item["item_id"] for item in found]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_every_format_is_read_and_empty_cells_change_nothing(run, bundle, tmp_path, kind):
    rows = [{"item_id": "i3", "title": "Heat", "year": None}, {"item_id": "i4", "title": None, "year": 2001}]
    path = tmp_path / f"changes.{kind}"
    if kind == "csv":
        path.write_text("item_id,title,year\ni3,Heat,\ni4,,2001\n")
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        import pyarrow as pa
        from pyarrow import parquet

        parquet.write_table(pa.Table.from_pylist(rows), path)
    before = [record(bundle, i) for i in ("i3", "i4")]
    result = run("items", "change", "--bundle", bundle, path, "--json")
    assert result.code == 0, result.err
    assert result.json["changed"] == ["i3", "i4"]
    after = [record(bundle, i) for i in ("i3", "i4")]
    assert after == [before[0] | {"title": "Heat"}, before[1] | {"year": 2001}]


def test_one_item_from_options(run, bundle):
    result = run("items", "add", "--bundle", bundle, "--id", "z", "--field", "title=a=b", "--field", "year=1999")
    assert result.code == 0, result.err
    assert "1 added, 0 restored; 31 items can be recommended now" in result.out
    assert f"saved {bundle}" in result.out
    assert record(bundle, "z") == {"item_id": "z", "title": "a=b", "year": 1999, "genres": None}
    assert run("items", "change", "--bundle", bundle, "--id", "z", "--field", "year=").code == 0
    assert record(bundle, "z")["year"] is None
    assert record(bundle, "z")["title"] == "a=b"


def test_deleted_items_leave_every_list_and_may_come_back(run, bundle, tmp_path):
    (tmp_path / "gone.csv").write_text("item_id,why\ni5,old\ni6,old\n")
    assert run("items", "delete", "--bundle", bundle, "i3", "i5", "--json").json["deleted"] == ["i3", "i5"]
    result = run("items", "delete", "--bundle", bundle, "--file", tmp_path / "gone.csv", "--json")
    assert (result.json["deleted"], result.json["items"]) == (["i6"], 27)
    lists = run("recommend", "--bundle", bundle, "--users", "u3", "--k", 30, "--json").json[0]["items"]
    assert not {"i3", "i5", "i6"} & {item["item_id"] for item in lists}
    back = run("items", "add", "--bundle", bundle, "--id", "i5", "--field", "title=Again", "--json")
    assert (back.json["restored"], back.json["added"], back.json["items"]) == (["i5"], [], 28)
    assert llmrec.load(bundle).catalog.items.rows(["i5"]).tolist() == [5]
    assert record(bundle, "i5") == {"item_id": "i5", "title": "Again", "year": None, "genres": None}


def test_a_bundle_that_has_grown_is_measured_on_all_its_items(run, held_bundle, files, tmp_path):
    grown = tmp_path / "grown"
    words = ("--id", "z", "--field", "title=New", "--field", "genres=Zoo")
    assert run("items", "add", "--bundle", held_bundle, *words, "--out", grown).code == 0
    result = run("evaluate", "--bundle", grown, *files, "--field", "genres", "--json")
    assert result.code == 0, result.err
    protocol = result.json["tests"]["last"]["reports"]["ease"]["protocol"]
    assert protocol["n_items"] == 31


def test_the_old_bundle_stays_where_another_place_is_named(run, bundle, tmp_path):
    result = run("items", "delete", "--bundle", bundle, "i3", "--out", tmp_path / "c", "--json")
    assert result.json["bundle"] == str(tmp_path / "c")
    assert llmrec.load(bundle).catalog.active.all()
    assert not llmrec.load(tmp_path / "c").catalog.active[3]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["add"], 2, "name the items with a FILE, or describe one"),
        (["add", "FILE", "--id", "x"], 2, "name the items with a FILE, or describe one"),
        (["add", "--field", "title=x"], 2, "name the items with a FILE, or describe one"),
        (["add", "--id", "x", "--field", "title"], 2, "--field 'title' is not NAME=VALUE"),
        (["add", "--id", "i3", "--field", "title=x"], 3, "already in the catalog"),
        (["add", "--id", "x", "--field", "titel=x"], 3, "unknown columns ['titel']"),
        (["add", "--id", "x", "--field", "title=x", "--field", "year=soon"], 3, "'year' cannot be read as int64"),
        (["add", "nowhere.csv"], 3, "there is no file nowhere.csv"),
        (["change", "--id", "i77", "--field", "title=x"], 3, "nearest known id is 'i7'"),
        (["delete"], 2, "name the items to delete by their ids"),
        (["delete", "i3", "--file", "FILE"], 2, "name the items to delete by their ids"),
        (["delete", "i77"], 3, "nearest known id is 'i7'"),
        (["delete", "--file", "FILE"], 3, "no column 'item_id'"),
    ],
)
def test_refusals_leave_the_bundle_alone(run, text_bundle, tmp_path, words, code, said):
    before = {p: p.stat().st_mtime_ns for p in text_bundle.rglob("*")}
    (tmp_path / "f.csv").write_text("id\nx\n")
    words = [str(tmp_path / "f.csv") if word == "FILE" else word for word in words]
    result = run("items", words[0], "--bundle", text_bundle, *words[1:])
    assert (result.code, result.out) == (code, "")
    assert said in result.err
    assert "Traceback" not in result.err
    assert {p: p.stat().st_mtime_ns for p in text_bundle.rglob("*")} == before


def test_a_bundle_that_is_none(run, tmp_path):
    assert "is not a bundle" in run("items", "delete", "--bundle", tmp_path / "nowhere", "i3").err
