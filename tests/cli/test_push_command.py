"""`llmrec push`; what goes over the wire is tested in tests/test_publish.py."""

from __future__ import annotations

import pytest

from llmrec import publish
from llmrec.errors import BundleError


@pytest.fixture
def pushed(monkeypatch):
    calls = []

    def push_to_hub(path, repo_id, **settings):
        calls.append((path, repo_id, settings))
        return f"https://hub/{repo_id}"

    monkeypatch.setattr(publish, "push_to_hub", push_to_hub)
    return calls


def test_a_dry_run_lists_and_uploads_nothing(run, text_bundle, pushed):
    result = run("push", text_bundle, "me/shop", "--dry-run", "--json")
    assert result.code == 0, result.err
    assert (result.json["repo"], result.json["private"], result.json["url"]) == ("me/shop", True, None)
    paths = {file["path"] for file in result.json["files"]}
    assert {"manifest.json", "README.md", "parts/components/dense/files/encoder/model.safetensors"} <= paths
    assert not [path for path in paths if "histories" in path]
    table = run("push", text_bundle, "me/shop", "--dry-run", "--with-users").out
    assert "parts/histories/arrays.safetensors" in table
    assert pushed == []


def test_it_is_private_and_without_users_unless_told_otherwise(run, text_bundle, pushed):
    result = run("push", text_bundle, "me/shop")
    assert (result.code, result.out) == (0, "pushed https://hub/me/shop\n")
    assert "uploading" in result.err
    assert run("push", text_bundle, "me/shop", "--public", "--with-users", "--license", "mit", "--json").json["url"]
    kept = {"private": True, "with_users": False, "license": None}
    assert pushed == [
        (text_bundle, "me/shop", kept),
        (text_bundle, "me/shop", {"private": False, "with_users": True, "license": "mit"}),
    ]


def test_refusals(run, text_bundle, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise BundleError("cannot push to me/shop: no route")

    monkeypatch.setattr(publish, "push_to_hub", refuse)
    result = run("push", text_bundle, "me/shop")
    assert (result.code, result.out) == (1, "")
    assert "cannot push to me/shop: no route" in result.err
    assert "is not a bundle" in run("push", tmp_path, "me/shop", "--dry-run").err
    assert run("push", text_bundle).code == 2
    result = run("push", text_bundle, "me/my/shop", "--dry-run")
    assert (result.code, result.out) == (2, "")
    assert "'me/my/shop' cannot name a repository; write OWNER/NAME" in result.err
