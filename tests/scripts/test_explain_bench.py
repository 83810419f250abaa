"""scripts/bench/explain.py on a tiny bundle: what it counts, and that what is cited wins where it was chosen."""

import json
import sys

import numpy as np
import pytest

import llmrec
from llmrec.types import Ranking


def test_wins_count_ties_for_half(bench):
    wins = bench["explain"]._wins
    assert wins(np.array([5, 0, 5, 7, -1]), 0) == pytest.approx((2 + 0.5) / 4)
    assert wins(np.array([0, 0, 0]), 1) == 0.5


def test_places_lost_and_items_behind_the_end(bench):
    items = np.array([[4, 2, 9], [2, 4, 9], [9, 1, 2]], np.int32)
    lost = bench["explain"]._lost(Ranking(items, np.zeros((3, 3), np.float32)), np.array([4, 2]))
    np.testing.assert_array_equal(lost, [[1, 3], [-1, 1]])


def test_the_whole(bench, data, tmp_path, monkeypatch, capsys):
    log = llmrec.load_dataset(str(data))
    stage = {"name": "one", "retrievers": {"popularity": {}, "item_knn": {}}, "fusion": {"weights": {"item_knn": 1.0}}}
    config = llmrec.Config.from_dict({"stages": [stage]})
    bundle = llmrec.fit(config, log.catalog, log.interactions, holdout="last").save(tmp_path / "bundle")
    options = ["--bundle", str(bundle), "--dataset", str(data), "--cases", "40", "--timed", "2", "--judge", str(bundle)]
    monkeypatch.setattr(sys, "argv", ["script", *options, "--json"])
    bench["explain"].main()
    found = json.loads(capsys.readouterr().out)
    assert found["cases"] >= 40
    assert sum(found["first reason"].values()) == pytest.approx(1, abs=0.01)
    won = found["wins"]["explanation"]
    assert won["same candidates"]["mean"] > found["wins"]["newest"]["same candidates"]["mean"]
    assert won["judge"] == won["lists"]
    assert "popularity alone" not in won
    monkeypatch.setattr(sys, "argv", ["script", *options])
    bench["explain"].main()
    assert "| judged by | removals that cost no place | explanation | newest |" in capsys.readouterr().out
