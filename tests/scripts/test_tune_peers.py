"""scripts/bench/tune_peers.py: what is tried, and that no test target is looked at."""

import sys

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

import llmrec
from llmrec.data import leave_last_out
from llmrec.evaluate import evaluate, leave_last_out_card

GRIDS = """
[[grids.item_knn]]
neighbours = [2, 5]
decay = [0.5, 1.0]
[[grids.item_knn]]
neighbours = [7]
[[grids.ease]]
l2 = [5.0]
decay = [0.7, 0.9]
"""


@pytest.fixture
def call(bench, data, tmp_path, monkeypatch, capsys):
    (tmp_path / "tiny-methods.toml").write_text(GRIDS)

    def script(*arguments):
        fixed = ["tiny", "--data", str(data), "--configs", str(tmp_path)]
        monkeypatch.setattr(sys, "argv", ["tune_peers.py", *fixed, *arguments])
        bench["tune_peers"].main()
        return capsys.readouterr().out

    return script


def test_a_budget_is_kept_and_what_shares_a_fit_stands_together(bench):
    combinations = bench["tune_peers"].combinations
    grid = {"decay": [0.5, 0.6, 0.7], "factors": [1, 2], "l2": [1.0, 2.0]}
    everything = combinations(grid, 100)
    assert len({tuple(sorted(one.items())) for one in everything}) == len(everything) == 12
    assert [one["decay"] for one in everything] == [0.5, 0.6, 0.7] * 4
    some = combinations(grid, 5)
    assert some == combinations(grid, 5)
    assert some == [one for one in everything if one in some]
    assert len(some) == 5


def test_a_shared_fit_is_as_good_as_its_own(bench, data):
    tune, found = bench["tune_peers"], llmrec.load_dataset(data)
    split = leave_last_out(found.interactions)
    for peer, fixed in (("ease", {}), ("item_knn", {}), ("bm25", {"item_template": "item/title"})):
        trials = [{**fixed, "decay": 0.5}, {**fixed, "decay": 1.0}]
        together = [v.tolist() for _, v, _ in tune.tried(peer, trials, found, split.train, split.validation)]
        alone = [next(tune.tried(peer, [trial], found, split.train, split.validation))[1].tolist() for trial in trials]
        assert together == alone
        assert together[0] != together[1]


def test_ndcg_is_that_of_an_evaluation(bench, data):
    tune, found = bench["tune_peers"], llmrec.load_dataset(data)
    split = leave_last_out(found.interactions)
    stages = {"stages": [{"name": "alone", "retrievers": {"ease": {"l2": 5.0}}}], "fallback": "ease"}
    fitted = llmrec.fit(llmrec.Config.from_dict(stages), found.catalog, found.interactions, holdout="last")
    values = tune.ndcg(fitted.stages[0].retrievers[0][0], split.test, found.catalog)
    card = leave_last_out_card(found.interactions, split.test)
    report = evaluate(fitted, split.test, n_items=15, protocol=card)
    assert np.allclose(values, report.values["NDCG@10"])


def test_tables_are_sorted_and_choose_peers(call):
    out = call()
    assert "LOO, validation, 60 users, 15 items" in out
    rows = [line.split("|") for line in out.split("\nease\n")[0].splitlines() if line.startswith("| {")]
    means = [float(row[2].split("+-")[0]) for row in rows]
    assert len(rows) == 5
    assert means == sorted(means, reverse=True)
    assert "item_knn" not in call("--peers", "ease")
    assert "LOO, validation, 20 users" in call("--peers", "ease", "--users", "20")
    with pytest.raises(SystemExit, match="no grid for 'als'; there are: item_knn, ease"):
        call("--peers", "als")


def test_no_test_target_is_looked_at(call, data):
    """With other last interactions, every figure stays; with other second last ones, some move."""

    def figures():
        return [line.split("|")[1:3] for line in call().splitlines() if line.startswith("| {")]

    before = figures()
    for place, same in ((-1, True), (-2, False)):
        table = parquet.read_table(data / "interactions.parquet").to_pydict()
        for user in set(table["user_id"]):
            rows = [row for row, owner in enumerate(table["user_id"]) if owner == user]
            own = {table["item_id"][row] for row in rows}
            table["item_id"][rows[place]] = next(f"i{n}" for n in range(15) if f"i{n}" not in own)
        parquet.write_table(pa.table(table), data / "interactions.parquet")
        assert (figures() == before) is same
