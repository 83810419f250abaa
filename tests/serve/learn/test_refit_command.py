"""``llmrec refit``: what it prints, writes and notes, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import pytest
from typer.testing import CliRunner

from llmrec.cli.app import app

SCHEMA = Path(__file__).parents[2] / "golden" / "schemas" / "refit.json"


@pytest.fixture
def run(store, monkeypatch):
    """Call the command with a store in memory in the place of the database."""
    monkeypatch.setitem(sys.modules, "llmrec.serve.store", SimpleNamespace(open_store=lambda _url: store))
    return lambda *words: CliRunner().invoke(app, ["refit", *map(str, words), "--store", "memory"])


def test_it_refits_and_deploys(run, bundle, store, tmp_path):
    store.add(("u1", "i9"))
    result = run(bundle, "--out", tmp_path / "new", "--deploy", "default", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    jsonschema.validate(found, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert (found["events"], found["passed"], found["deployed"]) == (1, True, "default")
    assert found["path"] == str(tmp_path / "new")
    assert [one.bundle for one in store.deployments] == [found["bundle"]]
    assert store.closed


def test_without_deploy_nothing_is_deployed(run, bundle, store, tmp_path):
    result = run(bundle, "--out", tmp_path / "new")
    assert result.exit_code == 0, result.output
    assert "too few new events" in result.stdout
    assert f"saved {tmp_path / 'new'}" in result.stdout
    assert store.deployments == []


def test_a_gate_that_does_not_open_is_exit_code_1(run, bundle, store, tmp_path, monkeypatch):
    from llmrec.evaluate import PairedResult
    from llmrec.serve.learn.gate import Gate

    worse = Gate(False, "the refit is surely worse", 40, 0.5, 0.4, PairedResult(-0.1, -0.2, -0.05, 0.001, 40))
    monkeypatch.setattr("llmrec.serve.learn.refitting._gate", lambda *_: worse)
    words = (bundle, "--out", tmp_path / "new", "--deploy", "default")
    result = run(*words, "--json")
    found = json.loads(result.stdout)
    jsonschema.validate(found, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert result.exit_code == 1
    assert (found["old"], found["new"], found["path"], found["deployed"]) == (0.5, 0.4, None, None)
    assert "--force" in run(*words).stdout
    assert store.deployments == []
    assert not (tmp_path / "new").exists()
    assert run(*words, "--force").exit_code == 0
    assert len(store.deployments) == 1


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom llmrec.cli.app import app\n"
        "assert CliRunner().invoke(app, ['refit', '--help']).exit_code == 0\n"
        "print([name for name in ('torch', 'sqlalchemy', 'scipy', 'llmrec.pipeline') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
