"""Pushing to the Hub, with a Hub that is a folder: the network is never asked."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import huggingface_hub.errors
import numpy as np
import pytest

import llmrec
from llmrec.bundle import CARD, MANIFEST, read_manifest
from llmrec.errors import BundleError
from llmrec.publish import push_to_hub, what_to_push
from llmrec.testing.data import tiny_users


class FakeHub:
    """What of `HfApi` is used; a repository is a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls, self.private, self.error = folder, [], {}, None

    def __call__(self, token=None, library_name=None):
        self.token = token
        return self

    def create_repo(self, repo_id, *, private, exist_ok):
        assert exist_ok
        if self.error is not None:
            raise self.error
        repo_id = repo_id if "/" in repo_id else f"me/{repo_id}"
        self.private.setdefault(repo_id, private)
        return SimpleNamespace(repo_id=repo_id, __str__=None)

    def repo_info(self, repo_id):
        return SimpleNamespace(private=self.private[repo_id])

    def upload_folder(self, *, repo_id, folder_path, commit_message, delete_patterns):
        assert delete_patterns == "*"
        target = self.folder / repo_id
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(folder_path, target)
        (target / ".gitattributes").write_text("*.safetensors filter=lfs")
        self.calls.append(repo_id)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    fake = FakeHub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "HfApi", fake)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    return fake


@pytest.fixture(scope="module")
def path(hybrid, tmp_path_factory):
    return replace(hybrid, users=tiny_users()).save(tmp_path_factory.mktemp("push") / "bundle")


def test_a_pushed_bundle_opens_and_holds_nobody(hub, path, hybrid, queries):
    push_to_hub(path, "me/shop", token="secret", license="mit")
    assert hub.calls == ["me/shop"]
    assert hub.token == "secret"
    there = hub.folder / "me/shop"
    again = llmrec.load(there)
    np.testing.assert_array_equal(again.recommend(queries, 5).items, hybrid.recommend(queries, 5).items)
    assert again.histories is None
    assert again.users is None
    assert read_manifest(there)["parts"] == [p for p in read_manifest(path)["parts"] if p not in ("histories", "users")]
    for word in ("u17", "writer", "student"):
        assert not [p for p in there.rglob("*") if p.is_file() and word.encode() in p.read_bytes()]
    card = (there / CARD).read_text(encoding="utf-8")
    assert "license: mit" in card
    assert "| stored histories | no |" in card
    assert "license: other" in (path / CARD).read_text(encoding="utf-8")


def test_no_path_of_this_machine_is_published(hub, path, bert):
    push_to_hub(path, "me/shop")
    there = hub.folder / "me/shop"
    assert str(bert) in (path / MANIFEST).read_text(encoding="utf-8")
    assert not [p for p in there.rglob("*.json") if str(bert).encode() in p.read_bytes()]
    assert llmrec.load(there).about["config"]["stages"][0]["retrievers"]["dense"]["encoder"] == bert.name


def test_users_go_along_only_if_that_is_asked_for(hub, path):
    push_to_hub(path, "shop", with_users=True)
    again = llmrec.load(hub.folder / "me/shop")
    assert again.queries(["u3"]).profiles["occupation"] == ["writer"]
    kept = {name for name, _ in what_to_push(path, with_users=True)} - {name for name, _ in what_to_push(path)}
    assert {name.split("/")[1] for name in kept} == {"histories", "users"}


def test_what_is_listed_is_what_is_pushed(hub, path):
    listed = what_to_push(path)
    assert hub.calls == []
    push_to_hub(path, "me/shop")
    there = hub.folder / "me/shop"
    found = {p.relative_to(there).as_posix(): p.stat().st_size for p in there.rglob("*") if p.is_file()}
    del found[".gitattributes"]
    assert dict(listed) == found
    assert {CARD, MANIFEST} <= found.keys()


def test_repositories_are_private_and_stay_so(hub, path):
    push_to_hub(path, "me/first")
    assert hub.private == {"me/first": True}
    push_to_hub(path, "me/open", private=False)
    assert hub.private["me/open"] is False
    hub.calls.clear()
    with pytest.raises(BundleError, match="me/open is a public repository, and a private one was asked for"):
        push_to_hub(path, "me/open")
    assert hub.calls == []
    push_to_hub(path, "me/open", private=False)


def test_a_damaged_bundle_is_not_published(hub, path, tmp_path):
    damaged = shutil.copytree(path, tmp_path / "damaged")
    weights = next(damaged.rglob("model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(BundleError, match="changed since the bundle was saved"):
        push_to_hub(damaged, "me/shop")
    assert hub.calls == []


@pytest.mark.parametrize(
    "error",
    [
        huggingface_hub.errors.OfflineModeIsEnabled("no route\nto the hub"),
        ConnectionError("no route"),
        huggingface_hub.errors.LocalTokenNotFoundError("no route"),
        huggingface_hub.errors.HFValidationError("no route"),
    ],
)
def test_a_hub_that_does_not_answer_is_one_clear_error(hub, path, error):
    hub.error = error
    with pytest.raises(BundleError, match=r"cannot push to me/shop: no route.*HF_TOKEN.*hf auth login"):
        push_to_hub(path, "me/shop")


def test_offline_nothing_is_tried(hub, path, monkeypatch):
    monkeypatch.setenv("LLMREC_OFFLINE", "1")
    with pytest.raises(BundleError, match="hub requests are forbidden; unset HF_HUB_OFFLINE"):
        push_to_hub(path, "me/shop")
    assert hub.calls == []
    assert what_to_push(path)
