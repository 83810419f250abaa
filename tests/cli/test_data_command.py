"""`llmrec data`: reports, descriptions and split files."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from pyarrow import parquet

import llmrec
from llmrec.data import leave_last_out


@pytest.fixture
def dirty(data, tmp_path):
    """Options that name a log with one row of an unknown item, one without a user, and one twice."""
    log = (data / "interactions.csv").read_text()
    (tmp_path / "log.csv").write_text(f'{log}"u1","i2x",999\n"","i2",999\n')
    return ["--items", data / "items.csv", "--interactions", tmp_path / "log.csv"]


def test_check_of_clean_data(run, data):
    result = run("data", "check", "--dataset", data)
    assert (result.code, result.err) == (0, "")
    rows = [line.split() for line in result.out.splitlines()]
    assert ["catalog", "accepted", "30"] in rows
    found = run("data", "check", "--dataset", data, "--json").json
    assert (found["clean"], found["refused"]) == (True, False)


def test_check_names_every_class_and_says_by_its_exit_code_that_fit_would_refuse(run, dirty):
    result = run("data", "check", *dirty)
    assert result.code == 3
    assert "unknown_item" in result.out
    assert "missing_user" in result.out
    assert "fit would refuse" in result.out
    found = run("data", "check", *dirty, "--json")
    assert found.code == 3
    (log,) = (part for part in found.json["parts"] if part["part"] == "interactions")
    assert log["rejected"] == 2
    assert log["read"] == log["accepted"] + log["repaired"] + log["rejected"]
    assert found.json["refused"] is True


def test_check_of_data_that_fit_would_take(run, dirty, tmp_path):
    assert run("data", "check", *dirty, "--on-error", "skip").code == 0
    assert run("data", "check", *dirty, "--quarantine", tmp_path / "bad.jsonl").code == 0
    assert len((tmp_path / "bad.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("rows", ["", "u,nothing\n"])
def test_check_of_a_log_with_nothing_to_learn_from(run, data, tmp_path, rows):
    (tmp_path / "log.csv").write_text(f"user_id,item_id\n{rows}")
    options = ["--items", data / "items.csv", "--interactions", tmp_path / "log.csv", "--on-error", "skip"]
    result = run("data", "check", *options)
    assert (result.code, result.err.count("\n")) == (3, 0)
    assert "fit would refuse these data: there is no interaction to learn from" in result.out
    assert run("data", "check", *options, "--json").json["refused"] is True


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("items.csv", "item_id;title\na;x\n", "Its values seem to be separated by ';'; save it with commas"),
        ("items.csv", "sku,title\na,x\n", "its columns are ['sku', 'title']. Name the column of the ids in item_id."),
        ("items.jsonl", "nothing\n", "1 bad_json (not a JSON object; line 1"),
        ("log.csv", "user_id|item_id\nu|i1\n", "Its values seem to be separated by '|'"),
    ],
)
def test_files_of_another_form_are_told_what_to_do(run, data, tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    items, log = data / "items.csv", data / "interactions.csv"
    items, log = (tmp_path / name, log) if name.startswith("items") else (items, tmp_path / name)
    result = run("data", "check", "--items", items, "--interactions", log)
    assert (result.code, result.out) == (3, "")
    assert said in result.err


def test_description_counts_what_is_there(run, data):
    found = run("data", "describe", "--dataset", data, "--json").json
    loaded = llmrec.load_dataset(data)
    log = loaded.interactions
    assert (found["items"], found["users"], found["interactions"]) == (30, 40, len(log))
    assert found["density"] == pytest.approx(len(log) / 1200)
    lengths = np.diff(log.offsets)
    assert found["histories"]["max"] == lengths.max()
    assert found["histories"]["mean"] == pytest.approx(lengths.mean())
    counts = np.sort(np.bincount(log.items, minlength=30))[::-1]
    assert found["popularity"]["top_10_percent"] == pytest.approx(counts[:3].sum() / counts.sum())
    assert found["popularity"]["never_taken"] == (counts == 0).sum()
    gaps = np.abs(counts[:, None] - counts[None, :]).sum() / (2 * 30 * counts.sum())
    assert found["popularity"]["gini"] == pytest.approx(gaps)
    assert found["times"] == {"first": int(log.times.min()), "last": int(log.times.max()), "unit": "as in the source"}
    titles = [record["title"] for record in loaded.catalog.records(np.arange(30, dtype=np.int32))]
    field = found["item_fields"]["title"]
    assert field["filled"] == sum(bool(title) for title in titles) / 30
    assert field["longest"] == max(len(title or "") for title in titles)
    assert found["user_fields"] is None
    assert run("data", "describe", "--dataset", data).code == 0


def test_description_of_everything_a_log_may_hold(run, tmp_path, bert):
    (tmp_path / "items.csv").write_text("item_id,title\na,One two\nb,\nc,Three\n")
    log = "user_id,item_id,timestamp,kind,rating,weight\nu,a,1600000000,buy,5,2\nu,b,1600000060,view,,1\n"
    (tmp_path / "interactions.csv").write_text(log)
    (tmp_path / "users.csv").write_text("user_id,age\nu,7\nv,\n")
    found = run("data", "describe", "--dataset", tmp_path, "--json").json
    assert found["times"]["first"] == "2020-09-13T12:26:40+00:00"
    assert found["kinds"] == {"buy": 1, "view": 1}
    assert (found["ratings"]["min"], found["weights"]["max"]) == (5, 2)
    assert found["user_fields"]["age"]["filled"] == 0.5
    assert found["popularity"]["never_taken"] == 1
    tokens = run("data", "describe", "--dataset", tmp_path, "--encoder", bert, "--set", "data.required=['title']")
    assert tokens.code == 3  # the item without a title


def test_tokens_of_the_text(run, data, bert):
    found = run("data", "describe", "--dataset", data, "--encoder", bert, "--json").json
    assert found["tokens"]["template"] == "item/genres"
    assert 0 < found["tokens"]["lengths"]["min"] <= found["tokens"]["lengths"]["max"]
    table = run("data", "describe", "--dataset", data, "--encoder", bert).out
    assert "tokens of an item" in table


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_split_files_hold_the_split(run, data, tmp_path, suffix):
    out = tmp_path / "split"
    result = run("data", "split", "--dataset", data, "--out", out, "--format", suffix, "--json")
    assert result.code == 0, result.err
    assert {path.name for path in out.iterdir()} == {*result.json["files"], "protocol.json"}
    loaded = llmrec.load_dataset(data)
    split = leave_last_out(loaded.interactions)

    def read(name):
        if suffix == "parquet":
            return parquet.read_table(out / f"{name}.parquet").to_pylist()
        with (out / f"{name}.csv").open(newline="") as lines:
            return [{**row, "timestamp": int(row["timestamp"])} for row in csv.DictReader(lines)]

    for name, holdout in {"validation": split.validation, "test": split.test}.items():
        rows = read(name)
        assert [row["user_id"] for row in rows] == loaded.interactions.users.decode(holdout.user_rows)
        assert [row["item_id"] for row in rows] == loaded.catalog.items.decode(holdout.targets)
        assert [row["timestamp"] for row in rows] == holdout.queries.at.tolist()
        histories = read(f"{name}-histories")
        assert [row["item_id"] for row in histories] == loaded.catalog.items.decode(holdout.queries.items)
    train = read("train")
    assert len(train) == len(split.train) == result.json["files"][f"train.{suffix}"]
    assert [row["timestamp"] for row in train] == split.train.times.tolist()
    card = json.loads((out / "protocol.json").read_text())
    assert card["protocols"]["test"]["n_users"] == len(split.test)
    assert "leave last out" in card["protocols"]["test"]["text"]


def test_split_keeps_kinds_and_ratings(run, tmp_path):
    (tmp_path / "items.csv").write_text("item_id,title\n" + "".join(f"i{n},t\n" for n in range(5)))
    rows = [f"u,i{n},{n},{'buy' if n % 2 else 'view'},{n if n else ''}" for n in range(5)]
    (tmp_path / "interactions.csv").write_text("user_id,item_id,timestamp,kind,rating\n" + "\n".join(rows))
    assert run("data", "split", "--dataset", tmp_path, "--out", tmp_path / "split").code == 0
    train = parquet.read_table(tmp_path / "split" / "train.parquet").to_pylist()
    assert [(row["kind"], row["rating"]) for row in train] == [("view", None), ("buy", 1.0), ("view", 2.0)]


@pytest.mark.parametrize("by", ["time", "cold-items", "cold-users"])
def test_other_splits(run, data, tmp_path, by):
    result = run("data", "split", "--dataset", data, "--by", by, "--out", tmp_path / "split")
    assert result.code == 0, result.err
    tests = [path.stem for path in (tmp_path / "split").glob("test*.parquet")]
    assert "test" in tests if by == "time" else all(name.startswith("test-") for name in tests)
    assert tests


def test_split_never_overwrites_and_leaves_no_half(run, data, tmp_path, monkeypatch):
    (tmp_path / "split").mkdir()
    taken = run("data", "split", "--dataset", data, "--out", tmp_path / "split")
    assert taken.code == 2
    assert "exists already" in taken.err

    def full(*_):
        raise OSError(28, "No space left")

    monkeypatch.setattr("pyarrow.parquet.write_table", full)
    result = run("data", "split", "--dataset", data, "--out", tmp_path / "new")
    assert result.code == 1
    assert "cannot write the split" in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["split"]
