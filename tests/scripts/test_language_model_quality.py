"""scripts/bench/language_model_quality.py on a tiny model: what is kept, and what is said of tuned rows."""

import json
import shutil
import sys

import pytest

from llmrec.testing.models import tiny_llama


@pytest.fixture
def ask(bench, data, tmp_path, monkeypatch, capsys):
    folder = tiny_llama(tmp_path / "llama", positions=2048)
    tuned = shutil.copytree(folder, tmp_path / "tuned")
    settings = {"task": "yes_no", "max_tokens": 400, "item_tokens": None, "yes": "Yes", "no": "No", "template": None}
    (tuned / "training.json").write_text(json.dumps({"finished": True, "settings": settings}))

    def run(*options):
        usual = ["--dataset", data, "--model", folder, "--tuned", f"yes_no={tuned}", "--work", tmp_path / "work"]
        monkeypatch.setattr(sys, "argv", ["script", *map(str, usual), "--rows", "yes_no_tuned", *options])
        bench["language_model_quality"].main()
        return capsys.readouterr().out, {path.name for path in (tmp_path / "work").iterdir()}

    return run


def test_scores_of_another_seed_are_others(ask):
    said, first = ask("--json")
    assert json.loads(said)["part"] == "validation"
    assert ask("--json")[1] == first
    assert len(ask("--json", "--seed", "1")[1]) == 2


def test_tuned_rows_are_said_to_be_optimistic_on_what_chose_them(ask):
    assert "Tuned rows are optimistic" in ask()[0]
    assert "optimistic" not in ask("--part", "test")[0]
