"""Tables of reports, and comparisons of many."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from llmrec.errors import ConfigError, DataError
from llmrec.evaluate import (
    Comparison,
    Interval,
    all_metrics,
    bootstrap_interval,
    compare,
    comparisons,
    differences,
    holm,
    paired_test,
    strata_rows,
    to_markdown,
)


def test_compare_lays_methods_side_by_side(make_report):
    first = make_report(0)
    made = replace(first, metrics={**first.metrics, "NDCG@10": Interval(0.07112, 0.0658, 0.07704)})
    rows = compare({"EASE": made, "popularity": make_report(1)})
    assert rows[0] == ("method", "NDCG@10", "Recall@10", "HitRate@10", "MRR@10", "coverage@10", "gini@10", "users")
    assert rows[1][:2] == ("EASE", "0.0711 [0.0658, 0.0770]")
    assert rows[1][3] == f"{first.metrics['HitRate@10'].mean:.4f}"
    assert rows[1][5:] == ("0.2500", "0.5000", "200")
    assert rows[2][0] == "popularity"
    assert all(isinstance(cell, str) for row in rows for cell in row)


def test_compare_shows_novelty_and_extra_metrics_where_there_are_any(make_report):
    first = make_report(0).with_novelty(np.ones(50, np.int64))
    made = replace(first, metrics={**first.metrics, "Diversity@10": Interval(0.7, 0.6, 0.8)})
    rows = compare({"with": made, "without": make_report(1)})
    assert rows[0][5:] == ("Diversity@10", "coverage@10", "gini@10", "novelty@10", "users")
    assert rows[1][5:] == ("0.7000", "0.2500", "0.5000", f"{np.log2(50):.4f}", "200")
    assert rows[2][5:] == ("-", "0.2500", "0.5000", "-", "200")


def test_compare_refuses_what_does_not_compare(make_report, reports_card):
    with pytest.raises(DataError, match="no report"):
        compare({})
    with pytest.raises(DataError, match="data_hash"):
        compare({"a": make_report(0), "b": replace(make_report(1), card=replace(reports_card, data_hash="other"))})
    with pytest.raises(ConfigError, match="'b' does not hold NDCG@10; it holds: NDCG@5"):
        compare({"a": make_report(0), "b": make_report(1, ks=(5,))})
    assert compare({"b": make_report(1, ks=(5,))}, k=5)[0][1] == "NDCG@5"


def test_all_metrics_has_a_row_a_metric(make_report):
    first = make_report(0, ks=(5, 10)).with_novelty(np.ones(50, np.int64))
    rows = all_metrics({"a": first, "b": make_report(1, ks=(5, 10))}, k=5)
    assert [row[0] for row in rows[:3]] == ["metric", "NDCG@5", "Recall@5"]
    assert [row[0] for row in rows[-3:]] == ["coverage@5", "gini@5", "novelty@5"]
    assert rows[1][1:] == (str(first.metrics["NDCG@5"]), str(make_report(1, ks=(5, 10)).metrics["NDCG@5"]))
    assert rows[-1][2] == "-"
    assert len(rows) == 1 + 8 + 3


def test_strata_have_a_row_a_group(make_report):
    first = make_report(0, strata=True)
    rows = strata_rows({"a": first, "b": make_report(1, strata=True)}, "popularity", metric="Recall@10")
    assert rows[0] == ("popularity", "users", "Recall@10 a", "Recall@10 b")
    assert [row[:2] for row in rows[1:]] == [("head", "80"), ("mid", "90"), ("tail", "30")]
    assert rows[1][2] == str(bootstrap_interval(first.values["Recall@10"][:80]))
    with pytest.raises(ConfigError, match="'c' has no strata by history; it has: none"):
        strata_rows({"c": make_report(0)}, "history")
    other = first.with_strata({"popularity": first.strata["history"]})
    with pytest.raises(DataError, match="differently"):
        strata_rows({"a": first, "b": other}, "popularity")


def test_differences_are_paired(make_report):
    found = {"base": make_report(0), "better": make_report(0, lift=0.1), "same": make_report(0)}
    rows = differences(found, "base")
    assert rows[0] == ("method", "NDCG@10 minus base", "p", "p (Holm)", "users")
    assert rows[1] == ("better", "+0.1000 [+0.1000, +0.1000]", "0.0001", "0.0002", "200")
    assert rows[2] == ("same", "+0.0000 [+0.0000, +0.0000]", "1.0000", "1.0000", "200")
    with pytest.raises(ConfigError, match="no report is named 'x'; there are: base, better, same"):
        differences(found, "x")


def test_comparisons_are_corrected_over_all_metrics(make_report):
    reports = {"a": make_report(0), "b": make_report(0, lift=0.1), "c": make_report(2, lift=0.02)}
    found = comparisons(reports, "a", ["NDCG@10", "MRR@10"])
    assert [(one.metric, one.method) for one in found] == [
        ("NDCG@10", "b"),
        ("NDCG@10", "c"),
        ("MRR@10", "b"),
        ("MRR@10", "c"),
    ]
    for one in found:
        assert one.baseline == "a"
        assert one.result == paired_test(reports[one.method].values[one.metric], reports["a"].values[one.metric])
    raw = [one.result.p_value for one in found]
    assert [one.p_holm for one in found] == holm(raw).tolist()
    assert found[0].p_holm == pytest.approx(4 * raw[0])
    for one in found:
        assert Comparison.from_dict(json.loads(json.dumps(one.to_dict()))) == one
    with pytest.raises(DataError, match="not a stored comparison"):
        Comparison.from_dict({"method": "a"})
    assert comparisons({"a": make_report(0)}, "a") == []


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
