"""`llmrec evaluate`: what it measures, and what it will not."""

from __future__ import annotations

import importlib.util
import json
import shutil

import pytest
from pyarrow import parquet

from llmrec.errors import LlmrecError
from llmrec.evaluate import ACCURACY, load_evaluations
from llmrec.opening import load

REPORT_KEYS = {"protocol", "metrics", "totals", "n_short", "strata"}
DIFFERENCE_KEYS = {"method", "baseline", "metric", "difference", "low", "high", "p", "p_holm", "n"}


@pytest.fixture(scope="module")
def printed(run, held_bundle, files):
    result = run("evaluate", "--bundle", held_bundle, *files, "--json")
    assert result.code == 0, result.err
    assert "measuring ease on 39 users" in result.err
    return result.json


@pytest.fixture(scope="module")
def report(printed):
    assert set(printed) == {"kind", "format", "llmrec", "tests"}
    assert set(printed["tests"]) == {"last"}
    return printed["tests"]["last"]


def test_json(report):
    assert set(report) == {"main", "reports", "baseline", "differences", "candidates"}
    assert set(report["reports"]) == {"popularity", "ease", "hybrid"}
    assert report["main"] == "hybrid"
    (ceiling,) = report["candidates"]
    assert ceiling["stage"] == "hybrid"
    assert report["reports"]["hybrid"]["metrics"]["Recall@10"]["mean"] <= ceiling["fused"] <= ceiling["union"] <= 1
    for found in report["reports"].values():
        assert set(found) == REPORT_KEYS
        assert set(found["metrics"]) == {f"{name}@10" for name in ACCURACY}
        assert set(found["metrics"]["NDCG@10"]) == {"mean", "low", "high"}
        assert set(found["totals"]) == {"coverage@10", "gini@10", "novelty@10"}
        assert found["protocol"]["n_users"] == 39
        assert found["protocol"]["seen_excluded"] is True
        assert found["protocol"]["note"] == ""


def test_differences_are_to_the_best_retriever(report):
    means = {name: found["metrics"]["NDCG@10"]["mean"] for name, found in report["reports"].items()}
    best = report["baseline"]
    assert means[best] == max(means["popularity"], means["ease"])
    assert {found["method"] for found in report["differences"]} == {"popularity", "ease", "hybrid"} - {best}
    for found in report["differences"]:
        assert set(found) == DIFFERENCE_KEYS
        assert (found["baseline"], found["metric"], found["n"]) == (best, "NDCG@10", 39)
        assert found["difference"] == pytest.approx(means[found["method"]] - means[best])
        assert found["p"] <= found["p_holm"] <= 1.0


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
    assert f"{report['candidates'][0]['union']:.4f}" in result.out
    assert "Recall of all" in result.out


def test_a_sample_says_so(run, held_bundle, data):
    result = run("evaluate", "--bundle", held_bundle, "--dataset", data, "--users", 5, "--json")
    card = result.json["tests"]["last"]["reports"]["hybrid"]["protocol"]
    assert card["n_users"] == 5
    assert card["note"] == "a fixed random 5 of 39 users"
    again = run("evaluate", "--bundle", held_bundle, "--dataset", data, "--users", 5, "--json")
    assert again.json == result.json


def test_cut_offs_strata_and_a_field(run, held_bundle, data, printed):
    options = ("--bundle", held_bundle, "--dataset", data, "--k", "10,3", "--strata", "--field", "genres")
    found = run("evaluate", *options, "--json").json["tests"]["last"]["reports"]["hybrid"]
    assert {"NDCG@3", "NDCG@10", "Diversity@3", "Miscalibration@10"} <= set(found["metrics"])
    assert sum(group["n_users"] for group in found["strata"]["popularity"]) == 39
    assert sum(group["n_users"] for group in found["strata"]["history"]) == 39
    result = run("evaluate", *options)
    assert result.code == 0
    for shown in ("NDCG@3", "Diversity@10", "popularity", "tail", "3-9", "p (Holm)"):
        assert shown in result.out


def test_out_writes_what_json_prints(run, held_bundle, data, printed, tmp_path):
    out = tmp_path / "report"
    result = run("evaluate", "--bundle", held_bundle, "--dataset", data, "--out", out, "--strata", "--k", "5,10")
    assert result.code == 0, result.err
    assert sorted(path.name for path in out.iterdir()) == [
        "cutoffs.png",
        "differences.png",
        "metrics.png",
        "report.json",
        "report.md",
        "strata-history.png",
        "strata-popularity.png",
        "values.parquet",
    ]
    (found,) = load_evaluations(out).values()
    expected = printed["tests"]["last"]["reports"]["hybrid"]["metrics"]["NDCG@10"]
    assert found.reports["hybrid"].to_dict()["metrics"]["NDCG@10"] == expected
    assert len(parquet.read_table(out / "values.parquet")) == 3 * 2 * len(ACCURACY) * 39
    again = run("evaluate", "--bundle", held_bundle, "--dataset", data, "--out", out, "--no-plots", "--json")
    assert json.loads((out / "report.json").read_text()) == again.json == printed
    assert not list(out.glob("*.png"))


def test_out_is_checked_before_the_work(run, held_bundle, data, tmp_path, monkeypatch):
    (tmp_path / "letter.txt").write_text("dear")
    command = ("evaluate", "--bundle", held_bundle, "--dataset", data, "--out")
    result = run(*command, tmp_path)
    assert (result.code, result.out) == (3, "")
    assert "exists and is not a folder of reports" in result.err
    assert "measuring" not in result.err
    real = importlib.util.find_spec
    monkeypatch.setattr("llmrec.evaluate.plots.find_spec", lambda name: None if name == "matplotlib" else real(name))
    result = run(*command, tmp_path / "new")
    assert (result.code, result.out) == (1, "")
    assert "pip install 'llmrec[plots]'" in result.err
    assert "measuring" not in result.err


@pytest.fixture(scope="module")
def lists(run, held_bundle, tmp_path_factory):
    out = tmp_path_factory.mktemp("lists") / "peer.csv"
    result = run("recommend", "--bundle", held_bundle, "--users", "all", "--k", 20, "--holdout", "last", "--out", out)
    assert result.code == 0, result.err
    return out


def test_lists_are_judged_beside_a_bundle_and_alone(run, held_bundle, data, lists, report):
    beside = run("evaluate", "--bundle", held_bundle, "--lists", lists, "--dataset", data, "--json")
    found = beside.json["tests"]["last"]["reports"]
    assert list(found) == ["popularity", "ease", "hybrid", "peer"]
    assert found["peer"]["metrics"] == found["hybrid"]["metrics"] == report["reports"]["hybrid"]["metrics"]
    assert found["peer"]["protocol"]["note"].startswith("lists from peer.csv")
    alone = run("evaluate", "--lists", lists, "--dataset", data, "--json").json["tests"]["last"]
    assert alone["reports"]["peer"] == found["peer"]
    assert (alone["main"], alone["baseline"], alone["differences"]) == ("peer", "peer", [])
    other = run("evaluate", "--lists", lists, "--dataset", data, "--holdout", "cold-users", "--json")
    assert (other.code, other.out) == (3, "")
    assert "peer.csv holds one list a user, but cold users are asked several times" in other.err


def test_cold_items_have_two_tests(run, data, plain_config, tmp_path):
    bundle = tmp_path / "cold"
    made = run("fit", "--dataset", data, "--config", plain_config, "--holdout", "cold-items", "--out", bundle)
    assert made.code == 0, made.err
    result = run("evaluate", "--bundle", bundle, "--dataset", data, "--strata")
    assert result.code == 0, result.err
    assert "among all" in result.out
    assert "among cold" in result.out
    found = run("evaluate", "--bundle", bundle, "--dataset", data, "--json").json
    assert list(found["tests"]) == ["among all", "among cold"]


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
        (["--dataset", "ml-100k", "--holdout", "last"], 2, "--holdout is for lists alone"),
        (["--items", "nowhere.csv", "--interactions", "nowhere.csv"], 3, "there is no file nowhere.csv"),
    ],
)
def test_refusals(run, held_bundle, options, code, said):
    result = run("evaluate", "--bundle", held_bundle, *options)
    assert (result.code, result.out) == (code, "")
    assert said in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--k", "5,ten"], "--k '5,ten' must be whole numbers"),
        (["--k", "0"], "whole numbers of at least 1"),
        (["--field", "mood"], "the catalog has no field 'mood'"),
        (["--separator", "|"], "name the field"),
    ],
)
def test_what_cannot_be_reported(run, held_bundle, data, options, said):
    result = run("evaluate", "--bundle", held_bundle, "--dataset", data, *options)
    assert (result.code, result.out) == (2, "")
    assert said in result.err


def test_data_are_read_as_fit_read_them(run, data, plain_config, tmp_path):
    config = tmp_path / "project.toml"
    config.write_text(f"{plain_config.read_text()}[data]\ndataset = {json.dumps(str(data))}\ncolumns.time = false\n")
    bundle = tmp_path / "bundle"
    assert run("fit", "--config", config, "--holdout", "last", "--out", bundle).code == 0
    result = run("evaluate", "--bundle", bundle, "--config", config, "--json")
    assert result.code == 0, result.err
    other = run("evaluate", "--bundle", bundle, "--dataset", data)
    assert other.code == 3
    assert "fitted on another log" in other.err
    changed = run("evaluate", "--bundle", bundle, "--config", config, "--set", "data.columns.time=timestamp")
    assert changed.code == 3
    assert "fitted on another log" in changed.err


def test_something_must_be_measured(run, data):
    result = run("evaluate", "--dataset", data)
    assert (result.code, result.out) == (2, "")
    assert "--bundle FOLDER or --lists FILE" in result.err


def test_two_methods_of_one_name_are_refused(run, held_bundle, data, lists, tmp_path):
    twin = tmp_path / "ease.csv"
    twin.write_text(lists.read_text())
    result = run("evaluate", "--bundle", held_bundle, "--dataset", data, "--lists", twin)
    assert (result.code, result.out) == (2, "")
    assert "two methods are called 'ease'" in result.err


def test_the_card_holds_what_was_printed(run, held_bundle, data, printed, tmp_path):
    bundle = tmp_path / "carded"
    shutil.copytree(held_bundle, bundle)
    result = run("evaluate", "--bundle", bundle, "--dataset", data, "--card", "--json")
    assert result.code == 0, result.err
    assert result.json == printed
    wanted = printed["tests"]["last"]["reports"]["hybrid"]
    about = load(bundle).about  # every file is verified on the way
    assert about["metrics"] == {"last": wanted}
    assert about["data"] == load(held_bundle).about["data"]
    found = wanted["metrics"]["NDCG@10"]
    card = (bundle / "README.md").read_text(encoding="utf-8")
    assert f"| last | NDCG@10 | {found['mean']:.4f} | {found['low']:.4f} | {found['high']:.4f} |" in card
    assert "- last: name LOO; " in card
    assert "None were stored" in (held_bundle / "README.md").read_text(encoding="utf-8")


def test_a_card_needs_a_bundle(run, lists, data):
    result = run("evaluate", "--lists", lists, "--dataset", data, "--card")
    assert (result.code, result.out) == (2, "")
    assert "--card writes onto the model card of a bundle" in result.err


def test_lists_are_read_before_a_bundle_is_measured(run, held_bundle, data, lists, tmp_path):
    twin = tmp_path / "ease.csv"
    shutil.copy(lists, twin)
    for file, said in ((twin, "two methods are called 'ease'; rename"), (tmp_path / "none.csv", "there is no file")):
        result = run("evaluate", "--bundle", held_bundle, "--lists", file, "--dataset", data)
        assert (result.out, result.code > 0) == ("", True)
        assert said in result.err
        assert "measuring" not in result.err


def test_what_cannot_be_written_has_been_shown(run, held_bundle, data, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise LlmrecError("the disk is full")

    monkeypatch.setattr("llmrec.evaluate.write_evaluations", fail)
    result = run("evaluate", "--bundle", held_bundle, "--dataset", data, "--out", tmp_path / "r")
    assert result.code == 1
    assert "the disk is full" in result.err
    assert "NDCG@10" in result.out


def test_short_lists_and_missing_users_are_said(run, held_bundle, data, lists, tmp_path):
    some = tmp_path / "some.csv"
    rows = lists.read_text().splitlines()
    some.write_text("\n".join([rows[0], *(row for row in rows[1:] if row.replace('"', "").startswith("u1,"))]))
    out = tmp_path / "r"
    result = run("evaluate", "--bundle", held_bundle, "--lists", some, "--dataset", data, "--out", out, "--no-plots")
    assert result.code == 0, result.err
    for said in ("38 users without a list: misses", "some: 38 lists are short; missing places are misses"):
        assert said in result.out
        assert said in (out / "report.md").read_text()


def test_a_long_cut_off_is_no_trouble(run, held_bundle, data):
    result = run("evaluate", "--bundle", held_bundle, "--dataset", data, "--k", "999999999", "--json")
    assert result.code == 0, result.err
    result = run("evaluate", "--bundle", held_bundle, "--dataset", data, "--k", "9" * 5000)
    assert (result.code, result.out) == (2, "")
    assert "of up to 9 digits" in result.err
