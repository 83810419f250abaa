"""scripts/bench/startup.py on a tiny bundle: what is asked and told, not how long it takes."""

import importlib.util
import json
import os
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[2] / "scripts" / "bench" / "startup.py"


@pytest.fixture(scope="module")
def startup():
    spec = importlib.util.spec_from_file_location("startup", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_bundle_is_asked_and_everything_is_told(startup, hybrid, tmp_path, monkeypatch):
    path = hybrid.save(tmp_path / "bundle")
    monkeypatch.setattr(startup, "COMMANDS", {"python": ["-c", "pass"]})
    monkeypatch.setattr(startup, "find_spec", lambda _: None)  # the peer takes seconds to import
    found = startup.measure([path], 1, hasattr(os, "posix_fadvise"))
    told = found["bundles"][path.name]
    assert set(told["seconds"]) == {"python", "open", "answer", "total"}
    assert told["seconds"]["total"] >= told["seconds"]["open"] > 0
    assert told["range_s"][0] == told["range_s"][1]
    assert "torch" not in told["loaded"]
    assert json.loads(json.dumps(found)) == found
    page = startup.as_markdown(found)
    assert "| `python` |" in page
    assert page.splitlines()[-1].startswith("| bundle | ")
    assert startup.first_answer(path)["items"] == 10


def test_a_bundle_without_users_is_asked_with_a_history(startup, hybrid, tmp_path):
    from dataclasses import replace

    told = startup.first_answer(replace(hybrid, histories=None).save(tmp_path / "bundle"))
    assert told["items"] == 10
    assert "faiss" in told["loaded"]
