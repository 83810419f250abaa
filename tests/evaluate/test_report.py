"""Reports and the tables made of them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from llmrec.errors import ConfigError, DataError
from llmrec.evaluate import (
    Interval,
    ProtocolCard,
    Report,
    bootstrap_interval,
    compare,
    compare_pairs,
    differences,
    novelty,
    to_markdown,
)

CARD = ProtocolCard("LOO", "last", "file order", 200, 50, 900, "hash")


def report(seed: int, *, lift: float = 0.0, k: int = 10) -> Report:
    rng = np.random.default_rng(seed)
    values = {f"{m}@{k}": rng.random(200) * 0.5 + lift for m in ("NDCG", "Recall", "HitRate", "MRR")}
    return Report(
        card=CARD,
        metrics={name: bootstrap_interval(v, resamples=200) for name, v in values.items()},
        values=values,
        totals={f"coverage@{k}": 0.25, f"gini@{k}": 0.5},
        exposure={k: np.arange(50)},
        user_rows=np.arange(200),
        n_short=0,
    )


def test_dict_is_json_in_a_fixed_order():
    found = report(0).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert list(found) == ["protocol", "metrics", "totals", "n_short"]
    assert list(found["metrics"]) == ["NDCG@10", "Recall@10", "HitRate@10", "MRR@10"]
    assert list(found["metrics"]["NDCG@10"]) == ["mean", "low", "high"]
    assert json.dumps(found) == json.dumps(report(0).to_dict())


def test_text_names_protocol_metrics_and_short_lists():
    text = str(replace(report(0), n_short=3))
    assert text.startswith(str(CARD))
    for part in ("NDCG@10", "coverage@10", "3 lists are shorter"):
        assert part in text
    assert "shorter" not in str(report(0))


def test_novelty_is_added_from_popularity():
    lists = np.array([[0, 1], [0, 2]], dtype=np.int32)
    popularity = np.array([5, 2, 0])
    made = replace(report(0), exposure={1: np.array([2, 0, 0]), 2: np.array([2, 1, 1])})
    found = made.with_novelty(popularity).totals
    for k in (1, 2):
        assert found[f"novelty@{k}"] == pytest.approx(novelty(lists, popularity, k))
    assert found["coverage@10"] == 0.25
    with pytest.raises(DataError, match="one count per item"):
        made.with_novelty(popularity[:2])


def test_compare_lays_methods_side_by_side():
    first = report(0)
    made = replace(first, metrics={**first.metrics, "NDCG@10": Interval(0.07112, 0.0658, 0.07704)})
    rows = compare({"EASE": made, "popularity": report(1)})
    assert rows[0] == ("method", "NDCG@10", "Recall@10", "HitRate@10", "MRR@10", "coverage@10", "gini@10", "users")
    assert rows[1][:2] == ("EASE", "0.0711 [0.0658, 0.0770]")
    assert rows[1][3] == f"{first.metrics['HitRate@10'].mean:.4f}"
    assert rows[1][5:] == ("0.2500", "0.5000", "200")
    assert rows[2][0] == "popularity"
    assert all(isinstance(cell, str) for row in rows for cell in row)


def test_compare_shows_novelty_where_there_is_any():
    rows = compare({"with": report(0).with_novelty(np.ones(50, np.int64)), "without": report(1)})
    assert rows[0][-2] == "novelty@10"
    assert rows[1][-2] == f"{np.log2(50):.4f}"
    assert rows[2][-2] == "-"


def test_compare_refuses_what_does_not_compare():
    with pytest.raises(DataError, match="no report"):
        compare({})
    with pytest.raises(DataError, match="data_hash"):
        compare({"a": report(0), "b": replace(report(1), card=replace(CARD, data_hash="other"))})
    with pytest.raises(ConfigError, match="'b' does not hold NDCG@10; it holds: NDCG@5"):
        compare({"a": report(0), "b": report(1, k=5)})
    assert compare({"b": report(1, k=5)}, k=5)[0][1] == "NDCG@5"


def test_differences_are_paired():
    rows = differences({"base": report(0), "better": report(0, lift=0.1), "same": report(0)}, "base")
    assert rows[0] == ("method", "NDCG@10 minus base", "p", "users")
    assert rows[1] == ("better", "+0.1000 [+0.1000, +0.1000]", "0.0001", "200")
    assert rows[2] == ("same", "+0.0000 [+0.0000, +0.0000]", "1.0000", "200")


def test_differences_need_the_same_users():
    with pytest.raises(ConfigError, match="no report is named 'x'; there are: a"):
        differences({"a": report(0)}, "x")
    other = replace(report(1), user_rows=np.arange(200)[::-1])
    with pytest.raises(DataError, match="same users in the same order"):
        compare_pairs(report(0), other)
    with pytest.raises(DataError, match="seen_excluded"):
        compare_pairs(report(0), replace(report(1), card=replace(CARD, seen_excluded=False)))
    with pytest.raises(ConfigError, match="does not hold NDCG@3"):
        compare_pairs(report(0), report(1), "NDCG@3")
    assert compare_pairs(report(0), report(1), "Recall@10").n == 200


def test_markdown_golden():
    assert to_markdown([("method", "NDCG@10"), ("a|b", "0.1"), ("long\nname here", "0.25")]) == (
        "| method         | NDCG@10 |\n"
        "| -------------- | ------: |\n"
        "| a\\|b           |     0.1 |\n"
        "| long name here |    0.25 |"
    )


def test_markdown_refuses_ragged_rows():
    with pytest.raises(DataError, match="header"):
        to_markdown([])
    with pytest.raises(DataError, match="as many cells"):
        to_markdown([("a", "b"), ("c",)])
