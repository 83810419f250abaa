"""Where a policy explores, every list says how likely each item was at its place; elsewhere none does."""

import csv
import json

import numpy as np
import pytest
from pyarrow import parquet

import llmrec

STAGE = {"name": "first", "retrievers": {"popularity": {}}}


@pytest.fixture(scope="module")
def exploring(catalog, interactions, tmp_path_factory):
    config = llmrec.Config.from_dict({"stages": [STAGE], "policies": {"exploration": {"epsilon": 0.4, "pool": 4}}})
    return llmrec.fit(config, catalog, interactions).save(tmp_path_factory.mktemp("exploring") / "bundle")


def test_recommendations_hold_them(exploring, hybrid):
    recommender = llmrec.load(exploring)
    ranking = recommender.recommend(recommender.queries(histories=[["i1"], []]), 3)
    found = [[entry.propensity for entry in entries] for entries in recommender.decode(ranking)]
    np.testing.assert_array_equal(np.float32(found), ranking.propensities)
    assert {type(value) for row in found for value in row} == {float}
    plain = hybrid.decode(hybrid.recommend(hybrid.queries(histories=[["i1"]]), 3))
    assert [entry.propensity for entry in plain[0]] == [None] * 3


def test_files_hold_them(run, exploring, held_bundle, tmp_path):
    recommender = llmrec.load(exploring)
    users = ["u1", "u2", "u3"]
    expected = recommender.recommend(recommender.queries(users), 3).propensities.ravel()
    command = ("recommend", "--bundle", exploring, "--users", ",".join(users), "--k", 3)
    for suffix in ("parquet", "csv", "jsonl"):
        assert run(*command, "--out", tmp_path / f"lists.{suffix}").code == 0
    table = parquet.read_table(tmp_path / "lists.parquet")
    assert table.column_names == ["user_id", "rank", "item_id", "score", "propensity"]
    np.testing.assert_array_equal(table.column("propensity").to_numpy(), expected)
    with (tmp_path / "lists.csv").open(newline="") as lines:
        np.testing.assert_array_equal(np.float32([row["propensity"] for row in csv.DictReader(lines)]), expected)
    lines = [json.loads(line) for line in (tmp_path / "lists.jsonl").read_text().splitlines()]
    np.testing.assert_array_equal(np.float32([e["propensity"] for line in lines for e in line["items"]]), expected)
    shown = run(*command, "--json").json
    np.testing.assert_array_equal(np.float32([e["propensity"] for entry in shown for e in entry["items"]]), expected)

    plain = tmp_path / "plain.parquet"
    assert run("recommend", "--bundle", held_bundle, "--users", "u1", "--out", plain).code == 0
    assert parquet.read_table(plain).column_names == ["user_id", "rank", "item_id", "score"]


def test_answers_to_requests_hold_them_in_the_order_of_the_requests(run, exploring, tmp_path):
    recommender = llmrec.load(exploring)
    requests = tmp_path / "requests.jsonl"
    requests.write_text('{"history": ["i1"], "k": 2}\n{"user_id": "u1"}\n{"history": ["i2"], "k": 2}\n')
    result = run("recommend", "--bundle", exploring, "--requests", requests, "--k", 4)
    found = [[e["propensity"] for e in json.loads(line)["items"]] for line in result.out.splitlines()]
    asked = [({"histories": [["i1"]]}, 2), ({"users": ["u1"]}, 4), ({"histories": [["i2"]]}, 2)]
    for values, (request, k) in zip(found, asked, strict=True):
        expected = recommender.recommend(recommender.queries(**request), k).propensities[0]
        np.testing.assert_array_equal(np.float32(values), expected)
