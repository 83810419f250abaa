"""`llmrec recommend`: lists on the screen, lists in a file, and honest refusals."""

from __future__ import annotations

import csv
import itertools
import shutil

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

import llmrec
from llmrec.data import without_last
from llmrec.pipeline import Recommender

ITEM_KEYS = {"rank", "item_id", "score", "fields"}


def test_table_of_a_known_user(run, text_bundle):
    result = run("recommend", "--bundle", text_bundle, "--users", "u1", "--k", 3)
    assert result.code == 0
    lines = [line for line in result.out.splitlines() if line.strip()]
    assert lines[0].strip() == "user u1"
    assert lines[1].split() == ["rank", "item_id", "title", "year", "genres", "score"]
    assert [line.split()[0] for line in lines[3:6]] == ["1", "2", "3"]


def test_json_of_known_users(run, text_bundle):
    result = run("recommend", "--bundle", text_bundle, "--users", "u1, u2 ", "--k", 4, "--json")
    assert result.code == 0
    assert [set(entry) for entry in result.json] == [{"user_id", "items"}] * 2
    assert [entry["user_id"] for entry in result.json] == ["u1", "u2"]
    for entry in result.json:
        assert [set(item) for item in entry["items"]] == [ITEM_KEYS] * 4
        assert [item["rank"] for item in entry["items"]] == [1, 2, 3, 4]
        assert [set(item["fields"]) for item in entry["items"]] == [{"title", "year", "genres"}] * 4
    recommender = llmrec.load(text_bundle)
    expected = recommender.decode(recommender.recommend(recommender.queries(["u1", "u2"]), 4))
    found = [[(i["item_id"], np.float32(i["score"])) for i in entry["items"]] for entry in result.json]
    assert found == [[(r.item_id, np.float32(r.score)) for r in row] for row in expected]


def test_history_and_wish(run, text_bundle):
    result = run("recommend", "--bundle", text_bundle, "--history", "i3, i4", "--wish", "red night", "--json")
    assert result.code == 0
    (entry,) = result.json
    assert set(entry) == {"history", "wish", "items"}
    assert entry["history"] == ["i3", "i4"]
    assert not {"i3", "i4"} & {item["item_id"] for item in entry["items"]}
    assert len(entry["items"]) == 10
    table = run("recommend", "--bundle", text_bundle, "--history", "i3, i4", "--wish", "[/b] :smile: \x1b[31m")
    assert table.code == 0
    assert table.out.splitlines()[0].strip() == "history i3, i4; wish [/b] :smile:  [31m"


def test_a_wish_moves_a_known_user(run, text_bundle):
    plain, wished = (
        run("recommend", "--bundle", text_bundle, "--users", "u1", "--json", *extra).json[0]
        for extra in ([], ["--wish", "zoo garden"])
    )
    assert wished["wish"] == "zoo garden"
    assert [i["item_id"] for i in plain["items"]] != [i["item_id"] for i in wished["items"]]


def test_histories_from_a_newer_log(run, text_bundle, tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("user_id,item_id,timestamp\nnew,i9,2\nnew,i2,1\n")
    result = run("recommend", "--bundle", text_bundle, "--users", "new", "--interactions", log, "--json")
    recommender = llmrec.load(text_bundle)
    expected = recommender.decode(recommender.recommend(recommender.queries(histories=[["i2", "i9"]]), 10))[0]
    assert [i["item_id"] for i in result.json[0]["items"]] == [r.item_id for r in expected]


@pytest.fixture(scope="module")
def lists(run, held_bundle, tmp_path_factory):
    """The file that `--out` wrote for all users, and where it is."""
    out = tmp_path_factory.mktemp("lists") / "deep" / "recs.parquet"
    command = ("recommend", "--bundle", held_bundle, "--users", "all", "--k", 100, "--holdout", "last", "--out", out)
    result = run(*command)
    assert result.code == 0, result.err
    assert result.out == f"wrote {out}: 40 users, up to 100 items each\n"
    assert [path.name for path in out.parent.iterdir()] == ["recs.parquet"]
    return out


def test_columns_of_the_file(lists):
    assert parquet.read_schema(lists).equals(
        pa.schema([("user_id", pa.string()), ("rank", pa.int32()), ("item_id", pa.string()), ("score", pa.float32())])
    )


def test_every_user_gets_every_item_outside_the_history_once(lists, data):
    log = llmrec.load_dataset(data).interactions
    catalog = llmrec.load_dataset(data).catalog
    allowed = without_last(log)
    rows = parquet.read_table(lists).to_pylist()
    assert {row["user_id"] for row in rows} == set(log.users.ids)
    for place, user in enumerate(log.users.ids):
        mine = [row for row in rows if row["user_id"] == user]
        assert [row["rank"] for row in mine] == list(range(1, len(mine) + 1))
        scores = [row["score"] for row in mine]
        assert all(a > b for a, b in itertools.pairwise(scores))
        history = set(catalog.items.decode(allowed.histories[place]))
        assert {row["item_id"] for row in mine} == set(catalog.items.ids) - history


def test_scoring_the_file_by_hand_gives_what_evaluate_prints(run, lists, held_bundle, data):
    log = llmrec.load_dataset(data).interactions
    catalog = llmrec.load_dataset(data).catalog
    ranks = {(r["user_id"], r["item_id"]): r["rank"] for r in parquet.read_table(lists).to_pylist()}
    gains = []
    for place, user in enumerate(log.users.ids):
        history = log.histories[place]
        if len(history) >= 3:
            rank = ranks[user, catalog.items[int(history[-1])]]
            gains.append(1 / np.log2(rank + 1) if rank <= 10 else 0.0)
    printed = run("evaluate", "--bundle", held_bundle, "--dataset", data, "--json").json
    report = printed["tests"]["last"]["reports"]["hybrid"]
    assert report["protocol"]["n_users"] == len(gains) == 39
    assert report["metrics"]["NDCG@10"]["mean"] == pytest.approx(np.mean(gains), abs=1e-12)
    assert 0.05 < np.mean(gains) < 0.95


def test_csv_holds_the_same(run, lists, held_bundle, tmp_path):
    out = tmp_path / "recs.csv"
    command = ("recommend", "--bundle", held_bundle, "--users", "all", "--k", 100, "--holdout", "last", "--out", out)
    result = run(*command, "--json")
    expected = parquet.read_table(lists).to_pylist()
    assert result.json == {"out": str(out), "users": 40, "k": 100, "rows": len(expected)}
    with out.open(newline="") as lines:
        found = list(csv.DictReader(lines))
    assert [(r["user_id"], int(r["rank"]), r["item_id"], np.float32(r["score"])) for r in found] == [
        (r["user_id"], r["rank"], r["item_id"], np.float32(r["score"])) for r in expected
    ]


def test_batches_change_nothing(run, lists, held_bundle, tmp_path, monkeypatch):
    monkeypatch.setattr("llmrec.cli.lists_file.BATCH", 7)
    out = tmp_path / "recs.parquet"
    result = run("recommend", "--bundle", held_bundle, "--users", "all", "--k", 100, "--out", out)
    assert result.code == 0
    assert "35 of 40 users" in result.err
    assert parquet.read_table(out).equals(parquet.read_table(lists))


@pytest.mark.parametrize("failure", [RuntimeError("out of luck"), OSError(28, "No space left"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_no_half(run, held_bundle, tmp_path, monkeypatch, failure):
    out = tmp_path / "recs.parquet"
    out.write_text("old")
    monkeypatch.setattr("llmrec.cli.lists_file.BATCH", 7)
    honest, calls = Recommender.recommend, []

    def failing(self, queries, k):
        calls.append(k)
        if len(calls) == 3:
            raise failure
        return honest(self, queries, k)

    monkeypatch.setattr(Recommender, "recommend", failing)
    result = run("recommend", "--bundle", held_bundle, "--users", "all", "--out", out)
    assert len(calls) == 3
    assert result.code == (130 if isinstance(failure, KeyboardInterrupt) else 1)
    assert result.out == ""
    assert "Traceback" not in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["recs.parquet"]
    assert out.read_text() == "old"


def test_out_below_a_file(run, held_bundle, tmp_path):
    (tmp_path / "file").write_text("")
    result = run("recommend", "--bundle", held_bundle, "--users", "u1", "--out", tmp_path / "file" / "r.csv")
    assert result.code == 1
    assert result.err.splitlines()[-1].startswith("llmrec: cannot write ")


def test_holdout_last_needs_a_bundle_fitted_so(run, text_bundle, data, tmp_path):
    out = tmp_path / "r.parquet"
    for extra in ([], ["--interactions", data / "interactions.csv"]):
        command = ("recommend", "--bundle", text_bundle, "--users", "all", "--holdout", "last", "--out", out)
        result = run(*command, *extra)
        assert (result.code, result.out) == (3, "")
        assert "llmrec fit --holdout last" in result.err
    assert not out.exists()


def test_holdout_last_with_another_log_is_refused(run, held_bundle, data, tmp_path):
    log = tmp_path / "log.csv"
    log.write_text((data / "interactions.csv").read_text() + '"zed","i29",999\n')
    command = ("recommend", "--bundle", held_bundle, "--users", "u1", "--holdout", "last", "--interactions")
    assert run(*command, data / "interactions.csv").code == 0
    result = run(*command, log)
    assert result.code == 3
    assert "fitted on another log" in result.err


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--users", "u1,u777"], 3, "'u777'"),
        (["--users", "u777"], 3, "the nearest known id is 'u7'"),
        (["--history", "i777"], 3, "the nearest known id is 'i7'"),
        ([], 2, "say for whom: --users IDS (or all), --history ITEMS, or --wish TEXT"),
        (["--users", ""], 2, "--users '' has an empty id"),
        (["--users", "u1,,u2"], 2, "--users 'u1,,u2' has an empty id"),
        (["--history", ""], 2, "--history '' has an empty id"),
        (["--users", "u1", "--history", "i1"], 2, "--users and --history exclude each other"),
        (["--wish", ""], 3, "the wish is empty"),
        (["--users", "u1", "--wish", "  "], 3, "the wish is empty"),
        (["--users", "u1", "--k", "0"], 2, "--k"),
        (["--users", "u1", "--k", "ten"], 2, "--k"),
        (["--users", "u1", "--out", "recs.xlsx"], 2, "the name must end in .parquet, .csv or .jsonl"),
        (["--wish", "a zoo", "--out", "recs.csv"], 2, "--out is for known users; add --users IDS (or all)"),
        (["--history", "i1", "--holdout", "last"], 2, "--holdout is for known users"),
        (["--history", "i1", "--interactions", "x.csv"], 2, "--interactions is for known users"),
        (["--users", "u1", "--interactions", "nowhere.csv"], 3, "there is no file nowhere.csv"),
    ],
)
def test_refusals(run, text_bundle, options, code, said):
    result = run("recommend", "--bundle", text_bundle, *options)
    assert (result.code, result.out) == (code, "")
    assert said in result.err
    assert "Traceback" not in result.err
    if code == 3:
        assert len(result.err.splitlines()) == 1


@pytest.mark.parametrize("options", [[], ["--users", "u1"], ["--history", "i1"]])
def test_a_wish_that_nothing_in_the_bundle_understands(run, held_bundle, options):
    result = run("recommend", "--bundle", held_bundle, "--wish", "a zoo", *options)
    assert (result.code, result.out) == (2, "")
    assert "a wish would change nothing" in result.err


def test_more_than_there_is(run, text_bundle):
    result = run("recommend", "--bundle", text_bundle, "--history", "i1", "--k", 1000, "--json")
    assert len(result.json[0]["items"]) == 29


def test_a_bundle_that_is_not_there(run, tmp_path):
    result = run("recommend", "--bundle", tmp_path / "none", "--users", "u1")
    assert (result.code, result.out) == (1, "")
    assert "is not a bundle" in result.err


@pytest.mark.parametrize("damage", ["changed", "missing", "manifest"])
def test_a_damaged_bundle(run, held_bundle, tmp_path, damage):
    bundle = tmp_path / "bundle"
    shutil.copytree(held_bundle, bundle)
    file = next(bundle.rglob("arrays.safetensors")) if damage != "manifest" else bundle / "manifest.json"
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    result = run("recommend", "--bundle", bundle, "--users", "u1")
    assert (result.code, result.out) == (1, "")
    assert file.name in result.err
    assert "Traceback" not in result.err
