import re

import pytest

from llmrec.assets import ASSETS, Asset
from llmrec.errors import AssetError


def make(files):
    return Asset("x", "model", "", "", "", None, None, None, None, "", files)


def test_every_asset_is_pinned_and_credited():
    assert sorted(ASSETS) == ["minilm", "ml-100k", "smollm2"]
    for name, asset in ASSETS.items():
        assert asset.name == name
        assert asset.license
        assert asset.citation
        assert asset.files
        hashes = [*asset.files.values(), asset.wheel_sha256]
        assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in hashes)
        assert (asset.hub_id is None) == (asset.hub_revision is None)
        assert not any(path.endswith((".bin", ".py", ".pt", ".pkl")) for path in asset.files)


def test_the_registry_cannot_be_changed():
    with pytest.raises(TypeError):
        ASSETS["mine"] = ASSETS["minilm"]  # type: ignore[index]
    with pytest.raises(TypeError):
        ASSETS["minilm"].files["x"] = ""  # type: ignore[index]


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "a\\..\\x", "C:x", ""])
def test_paths_that_leave_the_folder_are_refused(path):
    with pytest.raises(AssetError, match="refusing"):
        make({path: "0" * 64})


def test_the_cache_key_changes_with_any_file():
    keys = {make(files).key for files in ({"a": "1"}, {"a": "2"}, {"b": "1"}, {"a": "1", "b": "1"})}
    assert len(keys) == 4
