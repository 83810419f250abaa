"""`llmrec train`: settings from a file and from options, what is held out, and what is said at the end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import llmrec
from llmrec.train import read_record

SMALL = ["batch_size=16", "pairs=32", "item_template=item/title", "checks=1"]


@pytest.fixture
def small(bert):
    return [word for setting in (f"encoder={bert}", *SMALL) for word in ("--setting", setting)]


def test_tunes_and_says_what_to_do_with_it(run, data, small, tmp_path):
    out = tmp_path / "tuned"
    result = run("train", "encoder", "--dataset", data, "--out", out, *small)
    assert result.code == 0, result.err
    record = read_record(out)
    saved, measured, following = result.out.splitlines()
    assert saved == f"saved {out}"
    assert f"{record['before']:.4f} before, {record['best']:.4f} now" in measured
    assert following == f'next: in a pipeline, encoder = "{out}" and max_tokens = 32'
    assert "loss" in result.err
    config = tmp_path / "c.toml"
    config.write_text(
        f'[[stages]]\nname = "s"\n[stages.retrievers.popularity]\n[stages.retrievers.dense]\nencoder = "{out}"\n'
        'max_tokens = 32\nitem_template = "item/title"\n'
    )
    fitted = run("fit", "--dataset", data, "--config", config, "--holdout", "last", "--out", tmp_path / "b")
    assert fitted.code == 0, fitted.err
    assert len(llmrec.load(tmp_path / "b").catalog) == 30


def test_the_file_names_the_settings_and_options_win(run, data, bert, tmp_path):
    config = tmp_path / "c.toml"
    config.write_text(
        '[[stages]]\nname = "s"\n[stages.retrievers.popularity]\n[stages.retrievers.mine]\ntype = "tuned_dense"\n'
        f'encoder = "{bert}"\nitem_template = "item/title"\npairs = 48\nbatch_size = 16\nhistory = 2\nchecks = 1\n'
    )
    command = ["train", "encoder", "--dataset", data, "--config", config, "--setting", "pairs=20", "--minutes", "5"]
    result = run(*command, "--out", tmp_path / "m", "--json")
    assert result.code == 0, result.err
    assert result.json["pairs"] == 20
    settings = read_record(tmp_path / "m")["settings"]
    assert (settings["history"], settings["minutes"], settings["batch_size"]) == (2, 5.0, 16)


@pytest.fixture
def asked(monkeypatch):
    """What would be trained on, without training."""
    seen = []

    def spy(config, catalog, train, validation, out, *, options):
        seen.append((train, validation, options))
        out.mkdir()
        record = {"finished": True, "pairs": 1, "steps": 1, "seconds": 0.1, "before": 0.1, "checks": [0.2], "best": 0.2}
        (out / "training.json").write_text(json.dumps(record))

    monkeypatch.setattr("llmrec.train.train_encoder", spy)
    return seen


@pytest.mark.parametrize("holdout", ["last", "time", "cold-items", "cold-users"])
def test_what_is_held_out_is_not_learned_from(run, data, asked, tmp_path, holdout):
    command = ["train", "encoder", "--dataset", data, "--holdout", holdout, "--out", tmp_path / "m"]
    assert run(*command, "--seed", 3, "--no-resume").code == 0
    [(train, validation, options)] = asked
    loaded = llmrec.load_dataset(data)
    split = llmrec.data.split_by(holdout, loaded.interactions, loaded.catalog.items, 3)
    assert train.fingerprint == split.train.fingerprint
    assert validation.targets.tolist() == split.validation.targets.tolist()
    assert validation.queries.exclude.values.tolist() == validation.queries.items.tolist()
    assert (options.seed, options.resume) == (3, False)


def test_for_serving_only_the_last_ones_check(run, data, asked, tmp_path):
    assert run("train", "encoder", "--dataset", data, "--holdout", "none", "--out", tmp_path / "m").code == 0
    [(train, validation, _)] = asked
    split = llmrec.leave_last_out(llmrec.load_dataset(data).interactions)
    assert train.fingerprint == split.known.fingerprint
    assert validation.targets.tolist() == split.test.targets.tolist()


def test_says_that_nobody_could_be_measured_with(run, data, tmp_path, monkeypatch):
    record = {"finished": True, "pairs": 1, "steps": 1, "seconds": 0.1, "before": None, "checks": [], "best": None}

    def spy(config, catalog, train, validation, out, *, options):
        out.mkdir()
        (out / "training.json").write_text(json.dumps(record))

    monkeypatch.setattr("llmrec.train.train_encoder", spy)
    result = run("train", "encoder", "--dataset", data, "--out", tmp_path / "m")
    assert result.code == 0, result.err
    assert "not measured: no user has enough interactions" in result.out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--setting", "pairs"], "must be of the form KEY=VALUE"),
        (["--setting", "pair=5"], "did you mean 'pairs'"),
        (["--setting", "pairs=0"], "greater than 0"),
        (["--report-to", "paper"], "paper"),
    ],
)
def test_refuses_wrong_settings(run, data, tmp_path, options, said):
    result = run("train", "encoder", "--dataset", data, "--out", tmp_path / "m", *options)
    assert result.code == 2
    assert said in " ".join(result.err.replace("│", " ").split())
    assert not (tmp_path / "m").exists()


def test_pretrains(run, data, bert, tmp_path):
    command = ["train", "pretrain", "--dataset", data, "--encoder", bert, "--template", "item/title"]
    result = run(*command, "--out", tmp_path / "m", "--epochs", 2)
    assert result.code == 0, result.err
    assert result.out.splitlines()[0] == f"saved {tmp_path / 'm'}"
    assert (tmp_path / "m" / "model.safetensors").is_file()
    again = run(*command, "--out", tmp_path / "m")
    assert again.code == 2
    assert "exists already" in again.err


def test_the_script_is_the_command():
    script = Path(__file__).parents[2] / "scripts" / "train_encoder.py"
    found = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 0, found.stderr
    assert "--report-to" in found.stdout


def test_a_fit_with_a_work_folder_goes_on_there(run, data, bert, tmp_path):
    config = tmp_path / "c.toml"
    config.write_text(
        '[[stages]]\nname = "s"\n[stages.retrievers.popularity]\n[stages.retrievers.tuned_dense]\n'
        f'encoder = "{bert}"\nitem_template = "item/title"\npairs = 32\nbatch_size = 16\nchecks = 1\n'
    )
    command = ["fit", "--dataset", data, "--config", config, "--holdout", "last", "--work", tmp_path / "work"]
    first = run(*command, "--out", tmp_path / "a")
    assert first.code == 0, first.err
    assert "loss" in first.err
    second = run(*command, "--out", tmp_path / "b")
    assert second.code == 0, second.err
    assert "tuned_dense: fitted before" in second.err
    assert "loss" not in second.err
