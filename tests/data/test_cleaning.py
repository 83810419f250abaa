"""Each class of row that cannot be used, by name, with its message, its count and its place in the quarantine file."""

import json
import re

import numpy as np
import pytest

from llmrec.data import (
    CLASSES,
    Catalog,
    CleaningReport,
    DataConfig,
    Finding,
    Interactions,
    PartReport,
    Users,
    clean_data,
    load_data,
    load_dataset,
)
from llmrec.errors import DataError, UnknownIdError

ITEMS = {"item_id": ["a", "b", "é"], "title": ["Alpha", "Beta", "Gamma"]}
LOG = {"user_id": ["u", "u", "v"], "item_id": ["a", "b", "a"], "t": [1, 2, 3]}
NAN = float("nan")
ADVICE = (
    " Correct them, or go on without them: on_error 'skip' drops and counts them, 'quarantine' also writes them to a "
    "file (--on-error skip|quarantine)."
)

CATALOGS = {
    "missing_id": ({"item_id": ["a", None, "", "\u200b"], "title": ["x"] * 4}, [2, 3, 4], "no id; row 2, row 3: ''"),
    "bad_id": ({"item_id": [1.0, 2.5, 3.0], "title": ["x"] * 3}, [2], "row 2: 2.5"),
    "empty_text": ({"item_id": ["a", "b", "c"], "title": ["x", " ", None]}, [2, 3], "holds nothing; row 2: 'title'"),
    "duplicate_id": ({"item_id": ["a", "b", "a", "a"], "title": ["x"] * 4}, [3, 4], "earlier row; row 3: 'a'"),
    "colliding_id": (
        {"item_id": ["\u00e9", "e\u0301", " \u00e9"], "title": ["x"] * 3},
        [2, 3],
        "the id is that of an earlier row; row 2",
    ),
}

LOGS = {
    "missing_user": ({"user_id": ["u", None, " "]}, [2, 3], "no user id; row 2, row 3: ' '"),
    "missing_item": ({"item_id": ["a", "", "b"]}, [2], "no item id; row 2: ''"),
    "bad_id": ({"user_id": [1.0, 1.5, 2.0]}, [2], "row 2: 1.5"),
    "unknown_item": ({"item_id": ["a", "A", "b"]}, [2], "the item is not in the catalog; row 2: 'A'"),
    "missing_time": ({"t": [1, None, 2]}, [2], "no time; row 2"),
    "bad_time": ({"t": ["2020-01-01", "2020-02-30", "1577836800"]}, [2, 3], "row 2: '2020-02-30', row 3: '1577836800'"),
    "bad_weight": ({"weight": [1.0, NAN, float("inf")]}, [2, 3], "not a finite weight; row 2: nan, row 3: inf"),
    "missing_kind": ({"kind": ["buy", None, ""]}, [2, 3], "no kind; row 2, row 3: ''"),
    "unknown_kind": ({"kind": ["buy", "sell", "view"]}, [2], "a kind without a weight; row 2: 'sell'"),
    "bad_rating": ({"rating": ["5", "good", None]}, [2], "not a finite rating; row 2: 'good'"),
}
SETTINGS = {"kinds": {"buy": 2, "view": 1}}


def config(name, **more):
    values = dict(SETTINGS) if name == "unknown_kind" else {}
    return DataConfig.model_validate({**values, "required": ["title"], **more})


def shown(value):
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value


def tables(part, change):
    return (change, LOG) if part == "catalog" else (ITEMS, {**LOG, **change})


CASES = [("catalog", name, *case) for name, case in CATALOGS.items()]
CASES += [("interactions", name, *case) for name, case in LOGS.items()]


@pytest.mark.parametrize(
    ("part", "name", "change", "places", "message"), CASES, ids=lambda v: v if isinstance(v, str) else ""
)
def test_every_class_fails_by_name_or_is_left_out_and_counted(
    tmp_path, monkeypatch, part, name, change, places, message
):
    monkeypatch.chdir(tmp_path)
    items, log = tables(part, change)
    if part == "catalog":
        log = {"user_id": [], "item_id": [], "t": []}
    with pytest.raises(DataError) as caught:
        clean_data(items, log, config=config(name))
    n, rows = len(places), len(change[next(iter(change))])
    assert str(caught.value).startswith(
        f"{n} of {rows} rows of the {part} cannot be used: {n} {name} ({CLASSES[name]}; "
    )
    assert message in str(caught.value)
    assert str(caught.value).endswith(ADVICE)

    data = clean_data(items, log, config=config(name, on_error="skip"))
    report = data.cleaning.part(part)
    assert (report.count(name), report.rejected, report.read) == (n, n, rows)
    assert [e.place for f in report.findings if f.name == name for e in f.examples] == places
    assert len(data.catalog if part == "catalog" else data.interactions) == rows - n

    kept = clean_data(items, log, config=config(name, on_error="quarantine", quarantine="bad.jsonl"))
    lines = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text(encoding="utf-8").splitlines()]
    source = items if part == "catalog" else log
    assert [str(line["row"]) for line in lines] == [
        str({k: shown(v[at - 1]) for k, v in source.items()}) for at in places
    ]
    assert [(line["part"], line["class"], line["place"]) for line in lines] == [(part, name, at) for at in places]
    assert kept.cleaning.to_dict() == {**data.cleaning.to_dict(), "quarantine": "bad.jsonl"}


def test_the_nearest_known_item_is_named():
    message = (
        "1 of 3 rows of the interactions cannot be used: 1 unknown_item (the item is not in the catalog; row 2: 'A1'). "
        "The nearest known item to 'A1' is 'A2'." + ADVICE
    )
    with pytest.raises(UnknownIdError, match=f"^{re.escape(message)}$"):
        clean_data({"item_id": ["a", "A2"]}, {**LOG, "item_id": ["a", "A1", "a"]})


def test_several_classes_are_one_error():
    log = {"user_id": ["u", None, "u", "u"], "item_id": ["a", "x", "y", "b"], "t": ["1", "2", "3", "later"]}
    message = (
        "3 of 4 rows of the interactions cannot be used: 1 missing_user (no user id; row 2); 1 unknown_item (the item "
        "is not in the catalog; row 3: 'y'); 1 bad_time (not a time; times are whole seconds or ISO 8601, alike in all "
        "rows; row 4: 'later')."
    )
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        clean_data(ITEMS, log)
    assert not isinstance(caught.value, UnknownIdError)


def test_users_are_cleaned_like_a_catalog():
    users = {"user_id": ["u", "u", None, " v"], "city": ["x", "y", "z", "a\x07b"]}
    with pytest.raises(DataError, match=r"^2 of 4 rows of the users cannot be used: 1 missing_id"):
        clean_data(ITEMS, LOG, users)
    data = clean_data(ITEMS, LOG, users, DataConfig(on_error="skip"))
    report = data.cleaning.part("users")
    assert (report.read, report.accepted, report.repaired, report.rejected) == (4, 1, 1, 2)
    assert data.users.profiles(["u", "v"]) == {"city": ["x", "ab"]}


def test_repairs_are_made_and_counted():
    items = {
        "item_id": [" a", "b\u200b", "e\u0301", "c"],
        "title": ["tab\tstays\nhere", "be\u0301ta", "\u202egamma\x00", "zero\u200dwidth joiner stays"],
        "tags": [["x\x07", "y"], [], None, ["z"]],
    }
    log = {"user_id": ["u", "u ", "u\ufeff", "v"], "item_id": ["a", "b", "\u00e9", "e\u0301 "], "t": [1, 2, 3, 4]}
    data = clean_data(items, log)
    assert data.catalog.table.to_pylist() == [
        {"item_id": "a", "title": "tab\tstays\nhere", "tags": ["x", "y"]},
        {"item_id": "b", "title": "b\u00e9ta", "tags": []},
        {"item_id": "\u00e9", "title": "gamma", "tags": None},
        {"item_id": "c", "title": "zero\u200dwidth joiner stays", "tags": ["z"]},
    ]
    assert data.interactions.histories[0].tolist() == [0, 1, 2]
    catalog, found = data.cleaning.part("catalog"), data.cleaning.part("interactions")
    assert [(f.name, f.outcome, f.count) for f in catalog.findings] == [
        ("padded_id", "repaired", 1),
        ("control_characters", "repaired", 3),
        ("not_nfc", "repaired", 2),
    ]
    assert (catalog.accepted, catalog.repaired) == (1, 3)
    assert [(f.name, f.count, [e.place for e in f.examples]) for f in found.findings] == [
        ("padded_id", 2, [2, 4]),
        ("control_characters", 1, [3]),
        ("not_nfc", 1, [4]),
    ]
    assert (found.accepted, found.repaired, data.cleaning.clean) == (1, 3, False)


def test_rows_that_say_the_same_are_left_out_even_where_repeats_are_kept():
    log = {
        "user_id": ["u", "v", "u", "u ", "u", "u"],
        "item_id": ["a", "a", "b", "a", "a", "a"],
        "t": [5, 5, 1, 5, 5, 6],
        "rating": [NAN, NAN, 1.0, NAN, 2.0, NAN],
    }
    data = clean_data(ITEMS, log, config=DataConfig(repeats="keep"))
    report = data.cleaning.part("interactions")
    assert (report.count("duplicate_row"), report.repaired, report.accepted, report.count("padded_id")) == (1, 0, 5, 0)
    assert report.findings[0].examples[0].place == 4
    assert data.interactions.items.tolist() == [1, 0, 0, 0, 0]
    folded = clean_data(ITEMS, log).cleaning.part("interactions")
    assert (folded.count("duplicate_row"), folded.count("folded"), folded.accepted) == (1, 2, 5)
    untimed = clean_data(ITEMS, {k: log[k] for k in ("user_id", "item_id")}, config=DataConfig(repeats="keep"))
    assert (untimed.cleaning.part("interactions").rejected, len(untimed.interactions)) == (0, 6)


def test_what_is_noted_is_not_rejected():
    items = {"item_id": ["a", "b"], "title": ["x", None], "year": [1, 2]}
    data = clean_data(items, {"user_id": ["u", "u", "v"], "item_id": ["a", "a", "b"], "t": [3, 2, 1]})
    assert [(f.name, f.outcome, f.count) for p in data.cleaning.parts for f in p.findings] == [
        ("no_text", "noted", 1),
        ("unordered_times", "noted", 2),
        ("folded", "noted", 1),
    ]
    assert data.cleaning.clean


BROKEN = b'item_id,title\na,Alpha\nb,"Be\nta"\nc,Caf\xe9 au lait\nd,Delta,4\ne,"Eps"ilon\nf,Phi\n'


def test_lines_of_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / "items.csv").write_bytes(BROKEN)
    (tmp_path / "interactions.jsonl").write_bytes(
        b'{"user_id": "u", "item_id": "a", "t": 1}\n\nnope\n{"user_id": "u", "item_id": "b\xff", "t": 1}\n'
    )
    offset = BROKEN.index(b"\xe9")
    message = (
        f"3 of 6 rows of the catalog {tmp_path / 'items.csv'} cannot be used: "
        f"1 not_utf8 (not UTF-8; line 5: line 5, byte {offset} of the file is 0xe9); "
        "1 wrong_width (wrong number of values; line 6: 3 values, the header names 2 columns); "
        "1 bad_quotes (quotes that do not wrap a value; line 7: quote a value as a whole, and double the quotes in it)."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message + ADVICE)}$"):
        load_dataset(tmp_path)
    data = load_data(DataConfig(dataset=".", on_error="quarantine"), tmp_path)
    assert data.catalog.items.ids == ("a", "b", "f")
    assert len(data.interactions) == 1
    assert [(p.read, p.rejected) for p in data.cleaning.parts] == [(6, 3), (3, 2)]
    lines = [json.loads(line) for line in (tmp_path / "rejected.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines[0] == {
        "part": "catalog",
        "source": str(tmp_path / "items.csv"),
        "unit": "line",
        "place": 5,
        "class": "not_utf8",
        "reason": f"not UTF-8: line 5, byte {offset} of the file is 0xe9",
        "row": "c,Caf\\xe9 au lait",
    }
    assert [(line["place"], line["class"], line["row"]) for line in lines[1:]] == [
        (6, "wrong_width", "d,Delta,4"),
        (7, "bad_quotes", 'e,"Eps"ilon'),
        (3, "bad_json", "nope"),
        (4, "not_utf8", '{"user_id": "u", "item_id": "b\\xff", "t": 1}'),
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["interactions.jsonl", "items.csv", "rejected.jsonl"]


def test_lines_are_right_behind_quoted_line_breaks_and_empty_lines(tmp_path):
    (tmp_path / "items.csv").write_text('item_id,title\n\na,"x\ny"\nb,\n', encoding="utf-8")
    (tmp_path / "interactions.csv").write_text('user_id,item_id\n"u\n\n1",a\nu,zz\n', encoding="utf-8")
    with pytest.raises(UnknownIdError, match="line 5: 'zz'"):
        load_dataset(tmp_path)
    with pytest.raises(DataError, match=r"1 empty_text .* line 5: 'title'"):
        load_data(DataConfig(dataset=str(tmp_path), required=("title",)))


def test_the_quarantine_file_holds_whole_rows_and_appears_only_when_all_is_read(tmp_path):
    (tmp_path / "items.csv").write_text("item_id,title\na,x\n", encoding="utf-8")
    (tmp_path / "interactions.csv").write_text("user_id,item_id,t,page\nu,a,1,p1\nu,b,2,p2\n", encoding="utf-8")
    settings = DataConfig(dataset=".", on_error="quarantine", quarantine="out.jsonl")
    load_data(settings, tmp_path)
    (line,) = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["row"] == {"user_id": "u", "item_id": "b", "t": "2", "page": "p2"}
    (tmp_path / "interactions.csv").write_text("user_id,thing\nu,a\n", encoding="utf-8")
    with pytest.raises(DataError, match="has no column 'item_id'"):
        load_data(settings, tmp_path)
    assert (tmp_path / "out.jsonl").read_text(encoding="utf-8").strip() == line
    with pytest.raises(DataError, match=r"cannot write rejected rows to .*nowhere"):
        load_data(settings.model_copy(update={"quarantine": "nowhere/out.jsonl"}), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["interactions.csv", "items.csv", "out.jsonl"]


def test_a_catalog_of_which_nothing_is_left_is_an_error():
    with pytest.raises(DataError, match="none of the 2 rows of the catalog can be used: 2 missing_id"):
        clean_data({"item_id": [None, ""]}, LOG, config=DataConfig(on_error="skip"))


def test_files_read_alone_are_repaired_too_and_must_be_clean(tmp_path):
    (tmp_path / "items.csv").write_text("item_id,title\n a,e\u0301\n", encoding="utf-8")
    catalog = Catalog.from_file(tmp_path / "items.csv")
    assert catalog.table.to_pylist() == [{"item_id": "a", "title": "\u00e9"}]
    (tmp_path / "log.csv").write_text("user_id,item_id,t\nu,a ,1\nu,b,2\n", encoding="utf-8")
    with pytest.raises(UnknownIdError, match=r"^1 of 2 rows of the interactions .*log.csv .* line 3: 'b'"):
        Interactions.from_file(tmp_path / "log.csv", catalog)
    (tmp_path / "users.csv").write_text("user_id,age\nu,1\nu,2\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"1 duplicate_id .* line 3: 'u'"):
        Users.from_file(tmp_path / "users.csv")


def test_many_examples_are_cut_and_long_values_shortened():
    log = {"user_id": ["u"] * 9, "item_id": ["x" * 200] * 9, "t": list(range(9))}
    finding = clean_data(ITEMS, log, config=DataConfig(on_error="skip")).cleaning.part("interactions").findings[0]
    assert (finding.count, [e.place for e in finding.examples]) == (9, [1, 2, 3, 4, 5])
    assert finding.examples[0].value == "'" + "x" * 56 + "..."


def test_the_report_survives_json_and_makes_a_table():
    data = clean_data(ITEMS, {**LOG, "item_id": ["a", "zz", "b"]}, config=DataConfig(on_error="skip"))
    back = CleaningReport.from_dict(json.loads(json.dumps(data.cleaning.to_dict())))
    assert back == data.cleaning
    assert data.cleaning.rows()[4:] == [
        ("interactions", "", "read", "3", "dict"),
        ("interactions", "", "accepted", "2", ""),
        ("interactions", "", "repaired", "0", ""),
        ("interactions", "", "rejected", "1", ""),
        ("interactions", "unknown_item", "rejected", "1", "row 2: 'zz'"),
    ]
    with pytest.raises(KeyError):
        data.cleaning.part("users")


def test_a_report_that_does_not_balance_cannot_be_made():
    with pytest.raises(ValueError, match="3 rows read are not 1 \\+ 0 \\+ 1"):
        PartReport("catalog", "x", "row", 3, 1, 0, 1, (Finding("bad_id", "rejected", 1),))
    with pytest.raises(ValueError, match="do not add up to 1"):
        PartReport("catalog", "x", "row", 2, 1, 0, 1)


def test_rows_in_chunks_are_one_log(tmp_path, monkeypatch):
    """Numbers of users and kinds, places of rows and the form of times go on from chunk to chunk."""
    from llmrec.data import _blocks

    rows = [(f"u{n * 7 % 5}", "ab"[n % 2], 100 - n, ("buy", "view")[n % 3 == 0]) for n in range(60)]
    rows[41] = ("u9", "zz", 0, "buy")
    (tmp_path / "items.csv").write_text("item_id,title\na,x\nb,y\n", encoding="utf-8")
    text = "\n".join(",".join(map(str, row)) for row in rows)
    (tmp_path / "interactions.csv").write_text(f"user_id,item_id,t,kind\n{text}\n", encoding="utf-8")
    settings = DataConfig(dataset=str(tmp_path), on_error="skip", repeats="keep")
    whole = load_data(settings)
    monkeypatch.setattr(_blocks, "_BLOCK", 50)
    parts = load_data(settings)
    assert parts.interactions.fingerprint == whole.interactions.fingerprint
    assert parts.cleaning == whole.cleaning
    assert parts.cleaning.part("interactions").findings[0].examples[0].place == 43
    assert "u9" not in parts.interactions.users
    np.testing.assert_array_equal(np.diff(whole.interactions.times[:5]) >= 0, True)


def test_places_are_right_behind_rows_that_are_left_out():
    log = {"user_id": [None, "u", "u ", "u", "u"], "item_id": ["a", "a", "b", "x", "a"], "t": [1, 2, 3, 4, 2]}
    report = clean_data(ITEMS, log, config=DataConfig(on_error="skip")).cleaning.part("interactions")
    places = {f.name: [e.place for e in f.examples] for f in report.findings}
    wanted = {"missing_user": [1], "unknown_item": [4], "duplicate_row": [5], "padded_id": [3], "unordered_times": []}
    assert places == wanted
