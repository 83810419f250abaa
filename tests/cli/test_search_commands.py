"""`llmrec search` and `llmrec similar`, and what any list on the screen must survive."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pyarrow import parquet

import llmrec
from llmrec.pipeline import Recommender
from llmrec.types import Recommendation

ITEM_KEYS = {"rank", "item_id", "score", "fields"}


def test_search_in_json(run, text_bundle):
    result = run("search", "--bundle", text_bundle, "blue night", "zoo", "--k", 3, "--json")
    assert result.code == 0
    assert [set(entry) for entry in result.json] == [{"text", "items"}] * 2
    assert [entry["text"] for entry in result.json] == ["blue night", "zoo"]
    assert all(set(item) == ITEM_KEYS for entry in result.json for item in entry["items"])
    recommender = llmrec.load(text_bundle)
    expected = recommender.decode(recommender.search(["blue night", "zoo"], 3))
    assert [[i["item_id"] for i in entry["items"]] for entry in result.json] == [
        [r.item_id for r in row] for row in expected
    ]


def test_search_as_a_table(run, text_bundle):
    result = run("search", "--bundle", text_bundle, "blue night", "--k", 2)
    lines = [line for line in result.out.splitlines() if line.strip()]
    assert lines[0].strip() == "text blue night"
    assert lines[1].split() == ["rank", "item_id", "title", "year", "genres", "score"]
    assert [line.split()[0] for line in lines[3:5]] == ["1", "2"]


def test_similar(run, text_bundle):
    result = run("similar", "--bundle", text_bundle, "i3", "i4", "--k", 5, "--json")
    assert [set(entry) for entry in result.json] == [{"item_id", "items"}] * 2
    assert [len(entry["items"]) for entry in result.json] == [5, 5]
    for entry in result.json:
        assert entry["item_id"] not in [item["item_id"] for item in entry["items"]]
    table = run("similar", "--bundle", text_bundle, "i3")
    assert table.out.splitlines()[0].strip() == "item i3"


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["similar", "i777"], 3, "the nearest known id is 'i7'"),
        (["similar"], 2, "Missing argument 'ITEM'"),
        (["search", ""], 3, "search text is empty"),
        (["search"], 2, "Missing argument 'TEXT'"),
        (["search", "zoo", "--k", "0"], 2, "--k"),
    ],
)
def test_refusals(run, text_bundle, options, code, said):
    result = run(*options, "--bundle", text_bundle)
    assert (result.code, result.out) == (code, "")
    assert said in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize("score", [-0.0, -0.00001])
def test_no_negative_zero(run, text_bundle, monkeypatch, score):
    def decode(_self, ranking):
        return [[Recommendation("i3", 1, score)] for _ in ranking.items]

    monkeypatch.setattr(Recommender, "decode", decode)
    shown = run("search", "--bundle", text_bundle, "zoo", "--k", 1).out
    assert " 0.0000" in shown
    assert "-0.0000" not in shown
    assert "-0.0," not in run("search", "--bundle", text_bundle, "zoo", "--k", 1, "--json").out


def test_a_bundle_without_a_text_model(run, held_bundle):
    result = run("search", "--bundle", held_bundle, "zoo")
    assert (result.code, result.out) == (2, "")
    assert "add a dense retriever" in result.err


def test_awkward_fields(run, plain_config, tmp_path):
    """Fields called as ours are, values JSON lacks, and text that looks like markup or steers a terminal."""
    titles = ["[bold]x[/nope]", "\x1b[31mred\x07", ":smile:", "Misérables, Les", "plain"]
    items = pa.table(
        {
            "item_id": [f"i{row}" for row in range(5)],
            "title": titles,
            "score": [float("nan"), float("inf"), 1.5, None, 2.0],
            "rank": pa.array([0, 1, 2, 3, None], pa.date32()),
        }
    )
    parquet.write_table(items, tmp_path / "items.parquet")
    log = [(f"u{user}", f"i{(user + step) % 5}", step) for user in range(6) for step in range(3)]
    (tmp_path / "log.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(",".join(map(str, row)) for row in log))
    files = ["--items", tmp_path / "items.parquet", "--interactions", tmp_path / "log.csv"]
    assert run("fit", *files, "--config", plain_config, "--out", tmp_path / "b").code == 0
    found = {}
    for user in range(5):
        for item in run("recommend", "--bundle", tmp_path / "b", "--users", f"u{user}", "--json").json[0]["items"]:
            found[item["item_id"]] = item["fields"]
    assert [found[f"i{row}"]["title"] for row in range(5)] == [
        title.replace("\x1b", "").replace("\x07", "") for title in titles
    ]
    assert [found[f"i{row}"]["score"] for row in range(5)] == [None, None, 1.5, None, 2.0]
    assert [found[f"i{row}"]["rank"] for row in (0, 4)] == ["1970-01-01", None]
    table = run("recommend", "--bundle", tmp_path / "b", "--users", "u0,u1,u2,u3,u4")
    assert table.code == 0, table.err
    for shown in ("[bold]x[/nope]", ":smile:", "[31mred", "Misérables, Les"):
        assert shown in table.out
    assert "\x1b" not in table.out


def test_names_of_columns_stay_whole_on_a_narrow_terminal(run, text_bundle, monkeypatch):
    monkeypatch.setenv("COLUMNS", "48")
    monkeypatch.setenv("NO_COLOR", "1")
    shown = run("search", "--bundle", text_bundle, "zoo", "--k", 3, tty=True).out
    header = next(line for line in shown.splitlines() if "rank" in line)
    assert header.split() == ["rank", "item_id", "title", "year", "genres", "score"]
    assert max(map(len, shown.splitlines())) <= 48
