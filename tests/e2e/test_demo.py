"""The demo as a user runs it: fit once, then every number again from the bundle."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.e2e
# As it is before the suite sets its own cache, one thread and float32, which are for tiny models: a user's machine.
ENVIRONMENT = dict(os.environ)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("demo")


def demo(place):
    command = [sys.executable, "-m", "llmrec", "demo", "--json", "--out", str(place / "bundle")]
    done = subprocess.run(command, check=False, cwd=place, env=ENVIRONMENT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.fixture(scope="module")
def first(place):
    return demo(place)


def test_the_anchor_is_reproduced(first):
    """What most people took, base fit on train: the published anchor within .002."""
    metrics = first[0]["results"]["rows"]["popularity"]["metrics"]
    assert metrics["NDCG@10"]["mean"] == pytest.approx(0.0442, abs=0.002)
    assert metrics["Recall@10"]["mean"] == pytest.approx(0.0859, abs=0.002)


def test_what_is_combined_is_not_worse_than_its_best_part(first):
    for test in first[0]["results"]["tests"]:
        assert test["high"] >= 0, test


def test_every_part_is_shown(first):
    shown, progress = first
    assert len(shown["users"]) == 3
    for entry in [shown["wish"], *shown["users"]]:
        assert len(entry["recommendations"]) == 5
    for user in shown["users"]:
        assert all({"next_item", "transition", "dense", "hybrid"} <= set(r["scores"]) for r in user["recommendations"])
    assert sum("Western" in r["genres"] for r in shown["wish"]["recommendations"]) >= 3
    assert shown["new_item"]["of"] == 1683
    assert min(shown["new_item"]["ranks"].values()) <= 3
    rows = shown["results"]["rows"]
    assert [r["protocol"]["n_users"] for r in rows.values()] == [943] * 5
    assert "fitting transition" in progress


def test_the_second_time_nothing_is_fitted_and_every_number_is_the_same(first, place):
    again, progress = demo(place)
    assert "fitting" not in progress
    assert "measuring" in progress
    assert again == first[0]
