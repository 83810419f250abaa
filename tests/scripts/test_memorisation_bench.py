"""scripts/bench/memorisation.py on a tiny model."""

import json
import sys
from pathlib import Path

from llmrec.testing.models import tiny_llama


def test_json_and_markdown(bench, data, tmp_path, monkeypatch, capsys):
    folder = tiny_llama(tmp_path / "llama")
    options = ["--dataset", str(data), "--model", str(folder), "--titles", "6", "--among", "3"]
    monkeypatch.setattr(sys, "argv", ["script", *options, "--json"])
    bench["memorisation"].main()
    found = json.loads(capsys.readouterr().out)
    assert (found["model"], found["titles"], found["skipped"]) == ("llama", 6, 0)
    assert found["tokens_read"] > 0
    assert found["known"]["low"] <= found["known"]["mean"] <= found["known"]["high"]
    assert sum(group["titles"] for group in found["by_popularity"].values()) == 6
    monkeypatch.setattr(sys, "argv", ["script", *options])
    bench["memorisation"].main()
    said = capsys.readouterr().out
    assert "| **more than with mixed letters** | 6 | " in said
    assert "| **recited word by word** | 6 | 0.0% |" in said


def test_the_data_of_a_configuration(bench, tmp_path, monkeypatch, capsys):
    folder = tiny_llama(tmp_path / "llama")
    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    courses = "docs/examples/courses/courses.toml"
    monkeypatch.setattr(sys, "argv", ["script", "--config", courses, "--model", str(folder), "--titles", "6"])
    bench["memorisation"].main()
    assert "on 6 titles of courses; a guess completes 16.7%" in capsys.readouterr().out
