"""scripts/bench/injection.py on a tiny model: every defended answer is a permutation, and what is won is counted."""

import json
import sys
from types import SimpleNamespace

import pytest

from llmrec.testing.models import tiny_llama


@pytest.fixture
def options(data, tmp_path, bench, monkeypatch):
    folder = tiny_llama(tmp_path / "llama", positions=2048)
    monkeypatch.setattr(bench["injection"], "HISTORY", 2)
    return ["--dataset", str(data), "--model", str(folder), "--lists", "3", "--candidates", "3"]


def test_every_way_is_measured(bench, options, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["script", *options, "--defence", "on", "off", "bare", "--json"])
    bench["injection"].main()
    found = json.loads(capsys.readouterr().out)
    assert (found["model"], found["lists"], found["candidates"]) == ("llama", 3, 3)
    assert set(found["defence"]) == {"on", "off", "bare"}
    for way, one in found["defence"].items():
        assert (one["attacked_lists"], one["asked"]) == (15, 21)
        assert one["permutations"] == 21 or way == "bare"
        assert all(value["low"] <= value["mean"] <= value["high"] for value in one["places_won"].values())
        assert all(-2 <= value["mean"] <= 2 for value in one["places_won"].values())


def test_lists_end_when_time_is_up(bench, options, monkeypatch, capsys):
    clock = iter([0, 0, 30, 90, 90])
    # the script's clock alone: threads of other tests ask the real one
    monkeypatch.setattr(bench["injection"], "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(sys, "argv", ["script", *options, "--minutes", "1", "--defence", "on"])
    bench["injection"].main()
    out = capsys.readouterr().out
    assert out.startswith("llama, 2 lists of 3 items")
    assert "| base64 | " in out
    assert "Defence on: 14 of 14 answers were permutations." in out
