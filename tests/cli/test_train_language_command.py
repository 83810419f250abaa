"""`llmrec train language-model` and `preferences`: settings, what is held out, and what is said at the end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import llmrec

pytest.importorskip("trl")


@pytest.fixture
def asked(monkeypatch):
    """What would be trained on, without training."""
    seen = []

    def spy(config, catalog, train, validation, out, *, options):
        seen.append((config, train, validation, options))
        out.mkdir()
        record = {"finished": True, "cases": 1, "steps": 1, "seconds": 0.1, "before": 0.1, "checks": [0.2], "best": 0.2}
        (out / "training.json").write_text(json.dumps(record))

    monkeypatch.setattr("llmrec.train.train_language_model", spy)
    return seen


def test_what_is_held_out_is_not_learned_from_and_what_to_do_is_said(run, data, asked, tmp_path):
    out = tmp_path / "m"
    command = ["train", "language-model", "--dataset", data, "--out", out, "--seed", 3, "--no-resume", "--minutes", 7]
    result = run(*command, "--setting", "task=next_title", "--setting", "max_tokens=128")
    assert result.code == 0, result.err
    [(config, train, validation, options)] = asked
    loaded = llmrec.load_dataset(data)
    split = llmrec.data.split_by("last", loaded.interactions, loaded.catalog.items, 3)
    assert train.fingerprint == split.train.fingerprint
    assert validation.targets.tolist() == split.validation.targets.tolist()
    assert validation.queries.exclude.values.tolist() == validation.queries.items.tolist()
    assert (config.task, config.minutes, options.seed, options.resume) == ("next_title", 7.0, 3, False)
    saved, measured, following = result.out.splitlines()
    assert saved == f"saved {out}"
    assert measured.endswith("0.1000 before, 0.2000 now")
    assert following == f'next: in a pipeline, a scorer title_likelihood with model = "{out}" and max_tokens = 128'


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["task=listwise", "max_tokens=1024"], 'listwise with model = "OUT"'),
        (
            ["task=listwise", "max_tokens=1024", "window=6", "item_tokens=16"],
            'listwise with model = "OUT", item_tokens = 16, window = 6 and step = 3',
        ),
        (
            ["yes=Ja", "no=Nein", "template=chat/other", "item_tokens=48"],
            'yes_no with model = "OUT", template = "chat/other", yes = "Ja", no = "Nein" and max_tokens = 256',
        ),
    ],
)
def test_all_that_the_scorer_must_be_told_is_said(run, data, asked, tmp_path, settings, expected):
    out = tmp_path / "m"
    given = [word for entry in settings for word in ("--setting", entry)]
    result = run("train", "language-model", "--dataset", data, "--out", out, *given)
    assert result.code == 0, result.err
    assert result.out.splitlines()[-1] == f"next: in a pipeline, a scorer {expected}".replace("OUT", str(out))


def test_a_pipeline_uses_what_was_tuned(run, data, causal_model, tmp_path):
    out, small = tmp_path / "lm", ("cases=8", "negatives=1", "checks=1", "check_users=4", "max_tokens=300")
    settings = [word for entry in (f"model={causal_model}", *small) for word in ("--setting", entry)]
    result = run("train", "language-model", "--dataset", data, "--out", out, *settings)
    assert result.code == 0, result.err
    assert "loss" in result.err
    config = tmp_path / "c.toml"
    config.write_text(
        '[[stages]]\nname = "s"\nkeep = 4\n[stages.retrievers.popularity]\n'
        f'[[stages]]\nname = "r"\n[stages.scorers.yes_no]\nmodel = "{out}"\nmax_tokens = 300\n'
    )
    fitted = run("fit", "--dataset", data, "--config", config, "--holdout", "last", "--out", tmp_path / "b")
    assert fitted.code == 0, fitted.err


def test_clicks_become_preferences(run, data, causal_model, tmp_path):
    clicks, out = tmp_path / "clicks.csv", tmp_path / "dpo"
    clicks.write_text("history,shown,clicked\ni1 i2,i3 i4,i4\ni2,i5 i6,i5\n")
    command = ["train", "preferences", "--dataset", data, "--impressions", clicks, "--out", out]
    result = run(*command, "--setting", f"model={causal_model}", "--json")
    assert result.code == 0, result.err
    assert (result.json["pairs"], result.json["steps"]) == (2, 1)
    clicks.write_text("history,shown,clicked\ni1,i3,i4\n")
    refused = run(*command[:-1], tmp_path / "other")
    assert refused.code == 3
    assert "'i4' clicked, but not among what was shown" in refused.err


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("case=5", "did you mean 'cases'"),
        ("cases=0", "greater than 0"),
        ("task=chess", "yes_no"),
        ("model=5", "must be a name or a folder"),
        ("quantised=true", "NVIDIA"),
    ],
)
def test_refuses_wrong_settings(run, data, tmp_path, setting, said):
    result = run("train", "language-model", "--dataset", data, "--out", tmp_path / "m", "--setting", setting)
    assert result.code == 2
    assert said in " ".join(result.err.replace("│", " ").split())
    assert not (tmp_path / "m").exists()


def test_the_script_is_the_command():
    script = Path(__file__).parents[2] / "scripts" / "train_language_model.py"
    found = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 0, found.stderr
    assert "--report-to" in found.stdout
