"""scripts/bench/language_model.py on a tiny model: both ways agree, and less is read."""

import json
import sys

from llmrec.testing.models import tiny_llama


def test_both_ways_agree_and_less_is_read(bench, data, tmp_path, monkeypatch, capsys):
    folder = tiny_llama(tmp_path / "llama")
    monkeypatch.setattr(bench["language_model"], "HISTORY", 3)
    options = ["--dataset", str(data), "--model", str(folder), "--rounds", "3", "--candidates", "4"]
    monkeypatch.setattr(sys, "argv", ["script", *options, "--json"])
    bench["language_model"].main()
    found = json.loads(capsys.readouterr().out)
    assert (found["model"], found["users"], found["candidates"]) == ("llama", 3, 4)
    assert found["largest_difference_float32"] < 1e-3
    assert found["tokens_read"] < 0.5 * found["tokens_asked"]
    assert found["ratio"]["least"] > 0
    monkeypatch.setattr(sys, "argv", ["script", *options])
    bench["language_model"].main()
    assert "| ours | " in capsys.readouterr().out
