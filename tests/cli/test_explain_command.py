"""`llmrec explain`: reasons on the screen and as JSON, and honest refusals."""

from __future__ import annotations

import pytest

import llmrec


def test_a_known_users_best_items(run, text_bundle):
    result = run("explain", "--bundle", text_bundle, "--users", "u1,u2", "--k", 2)
    assert result.code == 0, result.err
    assert result.out.count("We recommend “") == 4
    assert [line for line in result.out.splitlines() if line.startswith("user ")] == ["user u1", "user u2"]
    recommender = llmrec.load(text_bundle)
    for own in recommender.explain(recommender.queries(["u1", "u2"]), k=2):
        for one in own:
            assert one.sentence in result.out
            assert f"{one.rank} of {one.candidates}" in result.out


def test_json_says_what_python_says(run, text_bundle):
    result = run("explain", "--bundle", text_bundle, "--history", "i3,i4", "--item", "i5,i6", "--json")
    recommender = llmrec.load(text_bundle)
    (expected,) = recommender.explain(recommender.queries(histories=[["i3", "i4"]]), [["i5", "i6"]])
    (found,) = result.json
    assert found["history"] == ["i3", "i4"]
    assert [one["item_id"] for one in found["items"]] == ["i5", "i6"]
    for shown, one in zip(found["items"], expected, strict=True):
        assert (shown["rank"], shown["candidates"], shown["sentence"]) == (one.rank, one.candidates, one.sentence)
        assert [(r["kind"], r["item_id"], r["rank_without"]) for r in shown["reasons"]] == [
            (r.kind, r.item, r.rank_without) for r in one.reasons
        ]


def test_a_wish_fields_and_another_language(run, text_bundle):
    result = run(
        "explain", "--bundle", text_bundle, "--wish", "red night", "--fields", "genres, year", "--k", 5, "--json"
    )
    assert result.code == 0, result.err
    assert result.json[0]["wish"] == "red night"
    assert {r["kind"] for one in result.json[0]["items"] for r in one["reasons"]} & {"wish", "field"}
    chinese = run("explain", "--bundle", text_bundle, "--users", "u3", "--template", "explain/zh-because", "--k", 1)
    assert "推荐“" in chinese.out


def test_a_models_sentences_are_counted(run, text_bundle, causal_model):
    command = ("explain", "--bundle", text_bundle, "--users", "u1", "--k", 2, "--phrase-with", causal_model)
    result = run(*command)
    assert result.code == 0, result.err
    assert f"0 of 2 sentences are by {causal_model}, the others by explain/because" in result.err
    assert result.out == run(*command[:-2]).out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "say for whom"),
        (["--users", "u1", "--history", "i1"], 2, "exclude each other"),
        (["--wish", " "], 3, "the wish is empty"),
        (["--users", "nobody"], 3, "nobody"),
        (["--users", "u1", "--item", "nowhere"], 3, "nowhere"),
        (["--history", "i1,i2", "--item", "i2"], 3, "item 'i2' cannot be recommended"),
        (["--users", "u1", "--fields", "zoo"], 2, "no field 'zoo'; the catalog has title, year, genres"),
        (["--users", "u1", "--fields", "title"], 2, "field 'title' cannot be taken away"),
        (["--users", "u1", "--template", "user/recent"], 2, "of kind 'user'"),
        (["--users", "u1", "--phrase-with", "./nowhere"], 1, "nowhere"),
    ],
)
def test_refusals(run, text_bundle, words, code, message):
    result = run("explain", "--bundle", text_bundle, *words)
    assert result.code == code, result.err
    assert message in result.err
    assert result.out == ""


def test_a_wish_that_nothing_understands_is_refused(run, held_bundle):
    assert "a wish would change nothing" in run("explain", "--bundle", held_bundle, "--wish", "zoo").err


def test_render_says_where_such_a_template_is_shown(run, data):
    result = run("prompt", "render", "explain/because", "--dataset", data)
    assert result.code == 2
    assert "llmrec explain --template explain/because" in result.err
