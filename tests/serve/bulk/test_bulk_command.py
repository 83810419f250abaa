"""`llmrec bulk`, against a real server."""

import io
import json
import sys
from pathlib import Path

import jsonschema
import pytest

from llmrec.cli import main

SCHEMA = json.loads((Path(__file__).parents[2] / "golden" / "schemas" / "bulk.json").read_text())


@pytest.fixture
def run(served, capsys, monkeypatch):
    monkeypatch.setenv("LLMREC_URL", served.url)

    def call(*arguments):
        with pytest.raises(SystemExit) as stop:
            main(["bulk", *map(str, arguments)])
        return int(stop.value.code or 0), *capsys.readouterr()

    return call


def test_events_are_stored_and_what_was_refused_is_told(run, service, tmp_path):
    file = tmp_path / "log.jsonl"
    lines = [{"user_id": "u", "item_id": f"i{n}"} for n in range(30)]
    lines[7]["item_id"] = "nothing"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, out, _ = run("interactions", file, "--idempotency-key", "k")
    assert code == 3
    assert out.startswith("line 8: 422 A value does not fit: event 0:")
    assert out.endswith("30 lines, 1 refused\n")
    code, out, _ = run("interactions", file, "--idempotency-key", "k", "--json")
    found = json.loads(out)
    jsonschema.validate(found, SCHEMA)
    assert (found["lines"], found["refused"], found["repeats"], found["problems"][0]["line"]) == (30, 1, 29, 8)
    assert len(service.events) == 29


def test_lists_are_written(run, monkeypatch, tmp_path):
    stdin = io.TextIOWrapper(io.BytesIO(b'{"user_id": "u1", "k": 1}\n\n{"wish": "tea", "k": 2}\n'))
    monkeypatch.setattr(sys, "stdin", stdin)
    code, out, _ = run("recommend", "-", "--out", tmp_path / "lists.jsonl", "--json")
    assert code == 0
    jsonschema.validate(json.loads(out), SCHEMA)
    lists = [json.loads(line) for line in (tmp_path / "lists.jsonl").read_text().splitlines()]
    assert [line["line"] for line in lists] == [1, 3]
    assert [item["item_id"] for item in lists[1]["answer"]["items"]] == ["i0", "i1"]
    assert [path.name for path in tmp_path.iterdir()] == ["lists.jsonl"]


def test_items_are_merged(run, service, tmp_path):
    file = tmp_path / "items.jsonl"
    file.write_text('{"item_id": "a", "fields": {"title": "A"}}')
    assert run("items", file, "--merge")[:2] == (0, "1 lines, 0 refused\n")
    assert service.calls == [("items", 1, False)]


def test_a_key_comes_from_the_environment(run, service, secrets, monkeypatch, tmp_path):
    service.keyed = True
    file = tmp_path / "log.jsonl"
    file.write_text('{"user_id": "u", "item_id": "i1"}')
    code, _, err = run("interactions", file)
    assert (code, "401" in err) == (1, True)
    monkeypatch.setenv("SHOP_KEY", secrets["feedback"])
    assert run("interactions", file, "--key-env", "SHOP_KEY")[0] == 0


def test_what_cannot_be(run, tmp_path):
    assert run("items", tmp_path / "none.jsonl")[0] == 3
    assert run("items", "-", "--url", "localhost")[0] == 2
    assert run("items", "-", "--idempotency-key", "k")[0] == 2
    assert run("recommend", "-")[0] == 2
    (tmp_path / "one.jsonl").write_text("{}")
    assert run("recommend", tmp_path / "one.jsonl", "--out", tmp_path / "no" / "where.jsonl")[0] == 3
