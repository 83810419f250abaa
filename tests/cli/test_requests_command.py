"""`llmrec recommend` for many: ids in files, requests as JSON lines, answers in every format."""

from __future__ import annotations

import csv
import io
import json

import pyarrow as pa
import pytest
from pyarrow import parquet

import llmrec
from llmrec.data import Users


@pytest.fixture(scope="module")
def recommender(text_bundle):
    return llmrec.load(text_bundle)


def ids(recommender, k=10, **request):
    return [r.item_id for r in recommender.decode(recommender.recommend(recommender.queries(**request), k))[0]]


def write(path, *lines):
    path.write_text("".join(f"{json.dumps(line) if not isinstance(line, str) else line}\n" for line in lines))
    return path


REQUESTS = (
    {"user_id": "u1"},
    {"history": ["i3", "i4"], "k": 2},
    "",
    {"wish": "zoo garden", "exclude": ["i5"]},
    {"user_id": "u2", "wish": "red night", "k": 4, "history": None},
    {"history": ["i3"], "allow": ["i6", "i7"]},
    {"history": []},
)


def expected(recommender):
    return [
        ids(recommender, users=["u1"]),
        ids(recommender, 2, histories=[["i3", "i4"]]),
        ids(recommender, wishes=["zoo garden"], histories=[[]], exclude=[["i5"]]),
        ids(recommender, 4, users=["u2"], wishes=["red night"]),
        ids(recommender, histories=[["i3"]], allow=["i6", "i7"]),
        ids(recommender, histories=[[]]),
    ]


@pytest.mark.parametrize("batch", [1, 2, 512])
def test_every_request_is_answered_as_if_alone(run, recommender, text_bundle, tmp_path, monkeypatch, batch):
    monkeypatch.setattr("llmrec.cli.lists_file.BATCH", batch)
    result = run("recommend", "--bundle", text_bundle, "--requests", write(tmp_path / "r.jsonl", *REQUESTS))
    assert (result.code, result.err) == (0, "")
    answers = [json.loads(line) for line in result.out.splitlines()]
    assert [[item["item_id"] for item in answer["items"]] for answer in answers] == expected(recommender)
    assert [answer["request"] for answer in answers] == [1, 2, 4, 5, 6, 7]
    assert [answer.get("user_id") for answer in answers] == ["u1", None, None, "u2", None, None]
    assert answers[0]["items"][0].keys() == {"rank", "item_id", "score"}


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_answers_in_a_file(run, recommender, text_bundle, tmp_path, suffix):
    out = tmp_path / f"a.{suffix}"
    source = write(tmp_path / "r.jsonl", *REQUESTS)
    result = run("recommend", "--bundle", text_bundle, "--requests", source, "--out", out, "--json")
    assert result.code == 0, result.err
    wanted = expected(recommender)
    assert result.json == {"out": str(out), "requests": 6, "k": 10, "rows": sum(map(len, wanted))}
    if suffix == "jsonl":
        answers = [json.loads(line) for line in out.read_text().splitlines()]
        rows = [{"request": a["request"], **item} for a in answers for item in a["items"]]
    elif suffix == "csv":
        with out.open(newline="") as lines:
            rows = [{**row, "request": int(row["request"])} for row in csv.DictReader(lines)]
    else:
        names = ["request", "user_id", "rank", "item_id", "score"]
        assert parquet.read_schema(out).names == names
        rows = parquet.read_table(out).to_pylist()
    found = [[row["item_id"] for row in rows if row["request"] == line] for line in (1, 2, 4, 5, 6, 7)]
    assert found == wanted


def test_requests_on_standard_input(run, recommender, text_bundle, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO('{"history": ["i3"], "k": 1}\n'))
    result = run("recommend", "--bundle", text_bundle, "--requests", "-")
    assert json.loads(result.out)["items"][0]["item_id"] == ids(recommender, 1, histories=[["i3"]])[0]


def test_requests_are_streamed(run, text_bundle, monkeypatch):
    monkeypatch.setattr("llmrec.cli.lists_file.BATCH", 2)

    def endless():
        yield '{"history": ["i3"]}\n'
        yield '{"history": ["i4"]}\n'
        yield "not json\n"
        raise AssertionError("read too far")

    monkeypatch.setattr("sys.stdin", endless())
    result = run("recommend", "--bundle", text_bundle, "--requests", "-")
    assert (result.code, len(result.out.splitlines())) == (3, 2)
    assert "line 3 of standard input is not JSON" in result.err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "is not JSON"),
        ("[1]", "must be an object"),
        ({"user_id": "u777"}, "'u777'"),
        ({"history": ["i777"]}, "'i777'"),
        ({"history": ["i1"], "exclude": ["i777"]}, "'i777'"),
        ({"user": "u1"}, "unknown key 'user'; did you mean 'user_id'?"),
        ({"user_id": "u1", "history": ["i1"]}, "user_id or history, a wish, or both"),
        ({"k": 3}, "must say for whom"),
        ({"user_id": True}, "an id is text or a whole number, got True"),
        ({"history": "i1"}, "history must be a list of ids, got 'i1'"),
        ({"history": [None]}, "an id is text or a whole number, got None"),
        ({"wish": " "}, "wish must be a text that says something"),
        ({"user_id": "u1", "k": 0}, "k must be a whole number of at least 1, got 0"),
        ({"user_id": "u1", "k": True}, "k must be a whole number of at least 1, got True"),
    ],
)
def test_a_bad_line_is_named_and_no_file_is_left(run, text_bundle, tmp_path, monkeypatch, line, said):
    monkeypatch.setattr("llmrec.cli.lists_file.BATCH", 1)  # the file is begun before the line is read
    source = write(tmp_path / "r.jsonl", {"user_id": "u1"}, {"history": ["i2"]}, line, {"user_id": "u2"})
    result = run("recommend", "--bundle", text_bundle, "--requests", source, "--out", tmp_path / "a.csv")
    assert (result.code, result.out) == (3, "")
    assert f"line 3 of {source}" in result.err
    assert said in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["r.jsonl"]


def test_a_wish_that_nothing_understands_names_its_line(run, held_bundle, tmp_path):
    source = write(tmp_path / "r.jsonl", {"user_id": "u1"}, {"wish": "zoo"})
    result = run("recommend", "--bundle", held_bundle, "--requests", source, "--out", tmp_path / "a.csv")
    assert result.code == 2
    assert f"line 2 of {source}: this bundle knows items by their interactions only" in result.err


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--requests", "nowhere.jsonl"], 3, "there is no file nowhere.jsonl"),
        (["--requests", "r.jsonl", "--users", "u1"], 2, "--requests and --users exclude each other"),
        (["--requests", "r.jsonl", "--wish", "x"], 2, "--requests and --wish exclude each other"),
        (["--requests", "r.jsonl", "--out", "a.xlsx"], 2, "the name must end in .parquet, .csv or .jsonl"),
        (["--requests", "."], 3, "cannot read the requests in .: Is a directory"),
        (["--users", "nowhere.csv"], 3, "there is no file nowhere.csv"),
        (["--users", "nowhere.txt"], 3, "cannot read the ids in nowhere.txt: No such file"),
    ],
)
def test_refusals(run, text_bundle, tmp_path, monkeypatch, options, code, said):
    monkeypatch.chdir(tmp_path)
    result = run("recommend", "--bundle", text_bundle, *options)
    assert (result.code, result.out) == (code, "")
    assert said in result.err


def test_a_file_without_requests(run, text_bundle, tmp_path):
    result = run("recommend", "--bundle", text_bundle, "--requests", write(tmp_path / "r.jsonl", "", ""))
    assert (result.code, result.out) == (3, "")
    assert "holds no requests" in result.err


def test_bytes_that_are_not_utf8(run, text_bundle, tmp_path):
    (tmp_path / "r.jsonl").write_bytes(b'{"user_id": "u1"}\n{"wish": "\xff"}\n')
    result = run("recommend", "--bundle", text_bundle, "--requests", tmp_path / "r.jsonl")
    assert result.code == 3
    assert "is not UTF-8" in result.err


@pytest.mark.parametrize("kind", ["txt", "csv", "jsonl", "parquet", "-", "no suffix"])
def test_users_from_a_file(run, text_bundle, tmp_path, monkeypatch, kind):
    path = tmp_path / ("users" if kind == "no suffix" else f"users.{kind}")
    if kind in ("txt", "no suffix"):
        path.write_text("u2\n\nu1\nu2\n")
    elif kind == "csv":
        path.write_text("user_id,x\nu2,1\nu1,2\nu2,3\n")
    elif kind == "jsonl":
        write(path, {"user_id": "u2"}, {"user_id": "u1"}, {"user_id": "u2"})
    elif kind == "parquet":
        parquet.write_table(pa.table({"user_id": ["u2", "u1", "u2"]}), path)
    else:
        path = "-"
        monkeypatch.setattr("sys.stdin", io.StringIO("u2\nu1\nu2\n"))
    result = run("recommend", "--bundle", text_bundle, "--users", path, "--k", 1, "--json")
    assert result.code == 0, result.err
    assert [entry["user_id"] for entry in result.json] == ["u2", "u1"]


@pytest.mark.parametrize(
    ("text", "said"), [("", "holds no ids"), ("item_id\nx\n", "no column 'user_id'"), ("user_id,b\n,1\n", "row 1")]
)
def test_a_file_without_users(run, text_bundle, tmp_path, text, said):
    path = tmp_path / ("users.csv" if text else "users.txt")
    path.write_text(text)
    result = run("recommend", "--bundle", text_bundle, "--users", path)
    assert (result.code, result.out) == (3, "")
    assert said in result.err


def test_ids_with_commas_come_in_files(run, plain_config, tmp_path):
    (tmp_path / "items.csv").write_text('item_id,title\n"a,b",x\nc,y\nd,z\n')
    (tmp_path / "log.csv").write_text('user_id,item_id\n"u,1","a,b"\n"u,1",c\nv,c\nv,d\n')
    files = ["--items", tmp_path / "items.csv", "--interactions", tmp_path / "log.csv"]
    fitted = run("fit", *files, "--config", plain_config, "--out", tmp_path / "b")
    assert fitted.out.endswith("--users v\n")  # the first user's id would be taken for two
    (tmp_path / "users.txt").write_text("u,1\n")
    result = run("recommend", "--bundle", tmp_path / "b", "--users", tmp_path / "users.txt", "--json")
    assert [entry["user_id"] for entry in result.json] == ["u,1"]
    write(tmp_path / "r.jsonl", {"history": ["a,b"]})
    result = run("recommend", "--bundle", tmp_path / "b", "--requests", tmp_path / "r.jsonl")
    assert "a,b" not in [item["item_id"] for item in json.loads(result.out)["items"]]


def test_profiles_are_attached(run, text_bundle, tmp_path, monkeypatch):
    from llmrec.pipeline import Recommender

    users = Users.from_table(pa.table({"user_id": ["u1", "stranger"], "age": [30, 40]}))
    from dataclasses import replace

    replace(llmrec.load(text_bundle), users=users).save(tmp_path / "b")
    asked, honest = [], Recommender.recommend

    def spying(self, queries, k):
        asked.append(queries.profiles)
        return honest(self, queries, k)

    monkeypatch.setattr(Recommender, "recommend", spying)
    assert run("recommend", "--bundle", tmp_path / "b", "--users", "u1,stranger").code == 0
    write(tmp_path / "r.jsonl", {"user_id": "stranger"})
    assert run("recommend", "--bundle", tmp_path / "b", "--requests", tmp_path / "r.jsonl").code == 0
    assert asked == [{"age": [30, 40]}, {"age": [40]}]
