"""`llmrec evaluate`: what it measures, and what it will not."""

from __future__ import annotations

import pytest

REPORT_KEYS = {"protocol", "metrics", "totals", "n_short"}
DIFFERENCE_KEYS = {"ndcg", "low", "high", "p"}


@pytest.fixture(scope="module")
def report(run, held_bundle, files):
    result = run("evaluate", "--bundle", held_bundle, *files, "--json")
    assert result.code == 0, result.err
    assert "measuring ease on 39 users" in result.err
    return result.json


def test_json(report):
    assert set(report) == {"reports", "baseline", "differences"}
    assert set(report["reports"]) == {"popularity", "ease", "hybrid"}
    for found in report["reports"].values():
        assert set(found) == REPORT_KEYS
        assert set(found["metrics"]) == {"NDCG@10", "Recall@10", "HitRate@10", "MRR@10"}
        assert set(found["metrics"]["NDCG@10"]) == {"mean", "low", "high"}
        assert set(found["totals"]) == {"coverage@10", "gini@10", "novelty@10"}
        assert found["protocol"]["n_users"] == 39
        assert found["protocol"]["seen_excluded"] is True
        assert found["protocol"]["note"] == ""


def test_differences_are_to_the_best_retriever(report):
    means = {name: found["metrics"]["NDCG@10"]["mean"] for name, found in report["reports"].items()}
    best = report["baseline"]
    assert means[best] == max(means["popularity"], means["ease"])
    assert set(report["differences"]) == {"popularity", "ease", "hybrid"} - {best}
    for name, found in report["differences"].items():
        assert set(found) == DIFFERENCE_KEYS
        assert found["ndcg"] == pytest.approx(means[name] - means[best])


def test_table(run, held_bundle, data, report):
    result = run("evaluate", "--bundle", held_bundle, "--dataset", data)
    assert result.code == 0
    for total in ("coverage@10", "gini@10", "novelty@10"):
        assert total in result.out
        assert f"{report['reports']['ease']['totals'][total]:.4f}" in result.out
    rows = {line.split()[0]: line for line in result.out.splitlines() if line.strip()}
    for name in ("popularity", "ease", "hybrid"):
        assert f"{report['reports'][name]['metrics']['Recall@10']['mean']:.4f}" in result.out
        assert name in rows
    assert result.out.splitlines()[-1].startswith("LOO (leave last out")
    assert "history excluded" in result.out


def test_a_sample_says_so(run, held_bundle, data):
    result = run("evaluate", "--bundle", held_bundle, "--dataset", data, "--users", 5, "--json")
    card = result.json["reports"]["hybrid"]["protocol"]
    assert card["n_users"] == 5
    assert card["note"] == "a fixed random 5 of 39 users"
    again = run("evaluate", "--bundle", held_bundle, "--dataset", data, "--users", 5, "--json")
    assert again.json == result.json


def test_a_bundle_that_saw_everything_is_refused(run, text_bundle, data):
    result = run("evaluate", "--bundle", text_bundle, "--dataset", data)
    assert (result.code, result.out) == (3, "")
    assert "the bundle has seen every interaction of this log" in result.err
    assert "llmrec fit --holdout last" in result.err


def test_another_log_is_refused(run, held_bundle, data, tmp_path):
    log = tmp_path / "log.csv"
    log.write_text((data / "interactions.csv").read_text() + '"zed","i29",999\n')
    result = run("evaluate", "--bundle", held_bundle, "--items", data / "items.csv", "--interactions", log)
    assert (result.code, result.out) == (3, "")
    assert "the bundle was fitted on another log" in result.err


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ([], 2, "name the data with --dataset"),
        (["--dataset", "ml-100k", "--items", "x.csv"], 2, "exclude each other"),
        (["--dataset", "ml-100k", "--users", "1"], 2, "--users"),
        (["--items", "nowhere.csv", "--interactions", "nowhere.csv"], 3, "there is no file nowhere.csv"),
    ],
)
def test_refusals(run, held_bundle, options, code, said):
    result = run("evaluate", "--bundle", held_bundle, *options)
    assert (result.code, result.out) == (code, "")
    assert said in result.err
    assert "Traceback" not in result.err
