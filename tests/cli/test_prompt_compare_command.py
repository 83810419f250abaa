"""`llmrec prompt compare|search`: the same users, the same answer twice, and one line that says what it means."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest

from llmrec.data import leave_last_out, load_dataset
from llmrec.evaluate import evaluate_lists, leave_last_out_card
from llmrec.lab.store import Store
from llmrec.models import TextEncoder
from llmrec.retrieve.dense import DenseConfig, fit_dense
from llmrec.text import load_template

pytestmark = pytest.mark.usefixtures("no_settings")


@pytest.fixture
def compare(run, data, bert, tmp_path):
    """Run the command on the test's data with the tiny encoder and a store of its own."""

    def call(*words, **how):
        options = ("--dataset", data, "--encoder", bert, "--store", tmp_path / "lab.sqlite")
        return run("prompt", "compare", *words, *options, **how)

    return call


def test_numbers_are_those_of_the_pipeline(compare, data, bert):
    found = compare("user/recent", "user/genres", "--json").json
    loaded = load_dataset(data)
    cases = leave_last_out(loaded.interactions).validation
    config = DenseConfig(encoder=str(bert), user_template="user/genres", index="exact")
    dense = fit_dense(loaded.catalog, config, TextEncoder.load(str(bert), max_tokens=config.max_tokens))
    lists = [
        [item for item in row if item not in set(history)][:10]
        for row, history in zip(dense.retrieve(cases.queries, 30).items.tolist(), cases.queries.histories, strict=True)
    ]
    report = evaluate_lists(
        np.array(lists, np.int32),
        cases,
        n_items=len(loaded.catalog),
        protocol=leave_last_out_card(loaded.interactions, cases),
    )
    (judge,) = found["judges"]
    assert judge["templates"][1]["metrics"]["NDCG@10"] == report.metrics["NDCG@10"].to_dict()
    assert judge["templates"][1]["metrics"]["Recall@10"] == report.metrics["Recall@10"].to_dict()
    assert judge["protocol"]["data_hash"] == loaded.interactions.fingerprint
    assert (judge["ceiling"], judge["first"]) == (None, "")


def test_the_last_line_says_it_in_words(compare):
    result = compare("item/title", "item/genres", "item/labelled")
    assert result.code == 0, result.err
    last = result.out.splitlines()[-1]
    assert last.startswith("retriever, 39 users: ")
    assert "item/title" in last
    assert "validation cases" in result.out


def test_the_same_again_is_read_from_the_store(compare, tmp_path):
    first = compare("item/title", "item/genres", "--json").json
    again = compare("item/title", "item/genres", "item/labelled", "--json").json
    assert [t["from_store"] for t in first["judges"][0]["templates"]] == [False, False]
    assert [t["from_store"] for t in again["judges"][0]["templates"]] == [True, True, False]
    for one, two in zip(first["judges"][0]["templates"], again["judges"][0]["templates"], strict=False):
        assert {**one, "from_store": True} == two
    with sqlite3.connect(tmp_path / "lab.sqlite") as database:
        assert database.execute("SELECT count(*) FROM runs").fetchone() == (3,)
    database.close()


def test_other_users_or_models_are_other_results(compare, tmp_path):
    compare("item/title")
    compare("item/title", "--users", "20")
    compare("item/title", "--users", "20", "--seed", "1")
    runs = Store(tmp_path / "lab.sqlite").runs()
    assert [len(run.user_rows) for run in runs] == [39, 20, 20]
    assert len({run.cases for run in runs}) == 3


def test_all_three_judge_user_templates(compare, pair_model, causal_model, tmp_path):
    found = compare(
        *("user/recent", "user/genres", "--on", "retriever", "--on", "cross-encoder", "--on", "lm"),
        *("--cross-encoder", pair_model, "--lm", causal_model, "--rerank-users", "20", "--depth", "5"),
        *("--report", tmp_path / "page.html", "--no-plots", "--json"),
    )
    assert found.code == 0, found.err
    retriever, cross, lm = found.json["judges"]
    assert [judge["judge"] for judge in (retriever, cross, lm)] == ["retriever", "cross-encoder", "lm"]
    assert (retriever["protocol"]["n_users"], cross["protocol"]["n_users"], lm["protocol"]["n_users"]) == (39, 20, 20)
    assert cross["ceiling"] == lm["ceiling"]
    for judge in (cross, lm):
        for template in judge["templates"]:
            assert template["metrics"]["Recall@10"]["mean"] <= judge["ceiling"]
            assert template["tokens"]["user"] > 0
            assert template["orders"] is None  # they read one by one
    assert "not tuned by the lab" in cross["note"]
    assert "title_likelihood" in lm["note"]
    assert found.json["corrected_for"] == 6
    assert found.json["verdict"] in (tmp_path / "page.html").read_text().replace("&#39;", "'")


def test_a_cross_encoder_is_tuned_where_none_is_given(compare, tmp_path):
    result = compare("pair/history", "--first", "popularity", "--depth", "10", "--json")
    assert result.code == 0, result.err
    (judge,) = result.json["judges"]
    assert judge["note"].startswith("one tuned for each template, shortly")
    assert (tmp_path / "lab-models" / "cross_encoder").is_dir()


def test_chats_are_asked_yes_or_no(compare, causal_model):
    options = ("--lm", causal_model, "--rerank-users", "10", "--depth", "4", "--json")
    assert "yes_no" in compare("chat/yes-no", *options).json["judges"][0]["note"]
    other = compare("chat/next", "--scorer", "title_likelihood", *options)
    assert "title_likelihood" in other.json["judges"][0]["note"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["chat/yes-no", "--on", "retriever"], "is a chat, which a retriever does not read"),
        (["item/title", "item/title"], "write the same"),
        (["pair/history", "--first", "rrf"], "'rrf' is a fusion; candidates come from a retriever"),
        (["chat/yes-no", "--scorer", "cross_encoder"], "is no scorer that puts a template to a language model"),
    ],
)
def test_refusals_come_before_the_work(compare, words, said):
    result = compare(*words)
    assert (result.code, result.out) == (2, "")
    assert said in result.err


@pytest.mark.parametrize(
    ("out", "said"), [("no/better.toml", "is no folder; make it first"), ("better.txt", "must end in .toml")]
)
def test_where_the_best_goes_is_checked_before_the_trials(run, data, bert, tmp_path, out, said):
    store = tmp_path / "lab.sqlite"
    words = ("prompt", "search", "item/title", "--dataset", data, "--encoder", bert, "--trials", "2", "--store", store)
    result = run(*words, "--out", tmp_path / out)
    assert (result.code, result.out) == (2, "")
    assert said in result.err
    assert not store.exists()


def test_a_search_is_told_on_users_it_was_not_chosen_on(run, data, bert, tmp_path):
    pytest.importorskip("optuna")
    out = tmp_path / "better.toml"
    words = ("prompt", "search", "item/title", "--dataset", data, "--encoder", bert, "--fields", "genres,year")
    options = ("--trials", "6", "--store", tmp_path / "lab.sqlite")
    result = run(*words, *options, "--out", out, "--json")
    assert result.code == 0, result.err
    found = result.json
    assert (found["chosen_on"], found["held"]["judges"][0]["protocol"]["n_users"]) == (19, 20)
    assert found["trials"][0]["value"] is not None
    assert load_template(str(out)).fingerprint in {trial["fingerprint"] for trial in found["trials"]}
    shown = run(*words, *options)
    assert shown.code == 0
    assert "chosen on 19 users" in shown.out
