"""scripts/bench/frontier.py and cross_encoder.py on tiny models and data: every model is trained and measured."""

import json
import sys

import numpy as np
import pytest

from llmrec.testing.models import tiny_bert

FIRST = """
[[stages]]
name = "first"
keep = 8
[stages.retrievers.popularity]
[stages.retrievers.item_knn]
"""


@pytest.fixture
def options(data, tmp_path):
    """Arguments of both scripts."""
    base = tiny_bert(tmp_path / "base", layers=3, words=["red", "blue", "night"], seed=0)
    (tmp_path / "first.toml").write_text(FIRST)
    settings = {"base": str(base), "epochs": 1, "list_length": 8, "check_share": 0, "max_tokens": 32}
    sets = [part for key, value in settings.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    return ["--dataset", str(data), "--first", str(tmp_path / "first.toml"), *sets]


def run(module, options, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["script", *options])
    module.main()


def test_every_point_of_the_frontier_is_there(bench, options, tmp_path, monkeypatch, capsys):
    own = ["--layers", "1", "3", "--depths", "3", "8", "--folds", "2", "--timed", "2", "--work", str(tmp_path / "work")]
    run(bench["frontier"], [*options, *own, "--json", "--out", str(tmp_path / "plots" / "tiny")], monkeypatch)
    told = capsys.readouterr()
    found = json.loads(told.out)
    points = [(point["layers"], point["learned"], point["depth"]) for point in found["points"]]
    assert sorted(points) == sorted((n, by, k) for n in (1, 3) for by in bench["frontier"].COLOURS for k in (3, 8))
    assert found["users"] == 24
    assert 0 < found["first_stage"] < 1
    for point in found["points"]:
        assert point["ndcg"] == pytest.approx(found["first_stage"] + point["gain"])
        assert point["ms"] > 0
    models = sorted((tmp_path / "work").glob("fold*/cross_encoder/*/config.json"))
    assert sorted(json.loads(path.read_text())["num_hidden_layers"] for path in models) == [1] * 6 + [3] * 6
    assert sum(json.loads(path.read_text()).get("shared_history", False) for path in models) == 4
    assert told.err.count("the teacher scores") == 4
    assert (tmp_path / "plots" / "tiny.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "plots" / "tiny.json").read_text()) == found
    page = (tmp_path / "plots" / "tiny.md").read_text()
    assert "--layers 1 3 --depths 3 8" in page
    run(bench["frontier"], [*options, *own], monkeypatch)
    again = capsys.readouterr()
    assert again.err.count("trained before") == 12
    rows = [line for line in again.out.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 12
    assert all(" | ".join(row.split(" | ")[:4]) in page for row in rows)
    shown = {tuple(cell.strip() for cell in row.split("|")[1:5]) for row in rows}
    assert shown == {(str(p["layers"]), p["learned"], str(p["depth"]), f"{p['ndcg']:.4f}") for p in found["points"]}


def test_what_leads_is_better_than_all_that_is_as_fast(bench):
    frontier = bench["frontier"]

    def point(ms, ndcg):
        return frontier.Point(1, "teacher", 10, ndcg, 0.0, 0.0, ms)

    points = [point(1, 0.10), point(2, 0.13), point(2, 0.12), point(3, 0.13), point(4, 0.15)]
    assert [frontier._leads(one, points, 0.11) for one in points] == [False, True, False, False, True]


def test_gains_leave_what_is_below_the_depth(bench):
    gains = bench["_rerank_folds"].gains
    scores = np.array([[0.0, 1.0, 9.0], [0.0, 1.0, 9.0], [0.0, 1.0, 9.0]])
    found = gains(np.array([1, 2, 3]), scores, 2)
    np.testing.assert_allclose(found, [1.0, 0.5, 0.0])


def test_a_cross_encoder_is_measured_at_all_depths(bench, options, monkeypatch, capsys):
    monkeypatch.setattr(bench["cross_encoder"], "DEPTHS", (3, 8))
    monkeypatch.setattr(bench["cross_encoder"], "TIMED", 2)
    run(bench["cross_encoder"], options, monkeypatch)
    out = capsys.readouterr().out
    assert "LOO, validation, 60 users" in out
    assert [line.split("|")[1].strip() for line in out.splitlines() if line.startswith("| ")] == ["depth", "3", "8"]
