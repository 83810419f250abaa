"""`llmrec demo` on tiny data in MovieLens' form: what it prints, and when it fits again."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest

from llmrec import Catalog, Config, Interactions
from llmrec import data as data_package
from llmrec.data import Dataset

SCHEMAS = Path(__file__).parents[1] / "golden" / "schemas"
GENRES = ["Sci-Fi Action", "Children's", "Horror", "Western", "Drama", None]
EXPLAINED = {"rank", "item", "genres", "ranks", "scores"}


@pytest.fixture(scope="module")
def movies():
    """60 titles; 24 users with 16 each, a third of them of every taste of the tour."""
    catalog = Catalog.from_table(
        {
            "item_id": [str(row) for row in range(60)],
            "title": [f"Tale {row} [/b]" for row in range(60)],
            "year": ["1995"] * 60,
            "genres": [GENRES[row % 6] for row in range(60)],
        }
    )
    rows = [
        (f"{user}", f"{(user % 3 + 6 * (user + step)) % 60 if step < 9 else (7 * step + user) % 60}", step)
        for user in range(24)
        for step in reversed(range(16))
    ]
    users, items, times = zip(*rows, strict=True)
    log = Interactions.from_table({"user_id": users, "item_id": items, "timestamp": [-t for t in times]}, catalog)
    return Dataset("ml-100k", catalog, log)


@pytest.fixture
def tiny_demo(movies, bert, monkeypatch):
    """Let the demo load the tiny data, and its default pipeline use tiny models."""
    honest = Config.from_dict

    def config(**_):
        return honest(
            {
                "stages": [
                    {
                        "name": "hybrid",
                        "keep": 20,
                        "retrievers": {"popularity": {}, "next_item": {"l2": 5.0}, "dense": {"encoder": str(bert)}},
                    },
                ]
            }
        )

    monkeypatch.setattr(data_package, "load_dataset", lambda name, progress=None: movies)
    monkeypatch.setattr("llmrec.config.Config", config)


@pytest.mark.usefixtures("tiny_demo")
def test_runs_twice_and_fits_once(run, tmp_path):
    out = tmp_path / "bundle"
    first = run("demo", "--out", out, "--json")
    assert first.code == 0, first.err
    assert "fitting next_item" in first.err
    second = run("demo", "--out", out, "--json")
    assert "fitting" not in second.err
    assert second.json == first.json
    shown = first.json
    jsonschema.validate(shown, json.loads((SCHEMAS / "demo.json").read_text()))
    assert set(shown) == {"dataset", "users", "wish", "new_item", "fusion", "results", "bundle"}
    assert [user["taste"] for user in shown["users"]] == ["Sci-Fi", "Children's", "Horror"]
    assert all(set(entry) == EXPLAINED for user in shown["users"] for entry in user["recommendations"])
    assert set(shown["new_item"]) == {"item", "of", "ranks", "nearest"}
    assert shown["new_item"]["of"] == 61
    assert set(shown["results"]) == {"rows", "tests", "protocol"}
    assert shown["bundle"] == str(out)

    table = run("demo", "--out", out, "--wish", "[/nope] :smile:", "--title", "[red]Robot")
    assert table.code == 0, table.err
    assert "A wish, no history: [/nope] :smile:" in table.out
    assert "A new item, typed in now: [red]Robot" in table.out
    assert re.search(r"rank +\d+ of 61 for the wish", table.out)
    assert f"is saved in {out}" in table.out


@pytest.mark.usefixtures("tiny_demo")
def test_a_place_that_is_taken_is_refused_first(run, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    result = run("demo", "--out", tmp_path)
    assert (result.code, result.out) == (1, "")
    assert "is not a bundle" in result.err
    assert "fitting" not in result.err
