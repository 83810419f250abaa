"""`llmrec assets`: what there is, from where, under which licence."""

from __future__ import annotations

import pytest

from llmrec import assets

KEYS = {"name", "kind", "summary", "source", "licence", "citation", "where", "path", "bytes"}


@pytest.fixture(autouse=True)
def _empty_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path))


def test_json(run):
    result = run("assets", "--json")
    assert (result.code, result.err) == (0, "")
    assert {entry["name"] for entry in result.json} == set(assets.ASSETS)
    for entry in result.json:
        assert set(entry) == KEYS
        assert (entry["path"], entry["bytes"]) == (None, 0)
        assert entry["licence"]
        assert entry["citation"]


def test_table(run):
    result = run("assets")
    assert result.code == 0
    for name, asset in assets.ASSETS.items():
        assert f"{name}  ({asset.kind})  {asset.summary}" in result.out
        assert asset.license in result.out
        assert f"not here yet; fetch with: llmrec assets --fetch {name}" in result.out


def test_fetch_reports_progress_on_stderr(run, monkeypatch, tmp_path):
    fetched = []

    def find(name, progress):
        fetched.append(name)
        progress(f"fetching {name}")

    monkeypatch.setattr(assets, "find_asset", find)
    result = run("assets", "--fetch", "minilm", "--fetch", "ml-100k", "--json")
    assert fetched == ["minilm", "ml-100k"]
    assert "fetching minilm" in result.err
    assert len(result.json) == len(assets.ASSETS)


def test_unknown_name(run):
    result = run("assets", "--fetch", "minilmm")
    assert (result.code, result.out) == (1, "")
    assert "did you mean 'minilm'?" in result.err


def test_offline(run, monkeypatch):
    monkeypatch.setenv("LLMREC_OFFLINE", "1")
    result = run("assets", "--fetch", "minilm")
    assert (result.code, result.out) == (1, "")
    assert "LLMREC_OFFLINE is set" in result.err
