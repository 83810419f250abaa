"""All policies together, as a configuration file names them: fitted, saved, loaded, grown."""

import subprocess
import sys

import numpy as np
import pytest

import llmrec
from llmrec.types import Item

FILE = """
policies.seen = {}
policies.availability = { deny_ids = ["i4"], deny = { genres = ["Thriller"] } }
policies.boost = { ids = { i10 = 3 }, fields = { genres = { Comedy = 1.5 } }, separator = " " }
policies.freshness = { field = "year", kind = "year", half_life = 1000, missing = "new" }
policies.diversity = { strength = 0.4, fields = ["genres"], separator = " " }
policies.limits = { type = "caps", field = "genres", at_most = 2, separator = " " }
policies.exploration = { epsilon = 0.3, pool = 3 }
policies.pin = { items = { i11 = 2 } }

[[stages]]
name = "first"
[stages.retrievers]
popularity = {}
ease = { l2 = 5.0 }
"""


@pytest.fixture(scope="module")
def everything(tmp_path_factory, catalog, interactions):
    path = tmp_path_factory.mktemp("config") / "all.toml"
    path.write_text(FILE, encoding="utf-8")
    return llmrec.fit(llmrec.Config.from_toml(path), catalog, interactions)


def test_rules_hold_together(everything, interactions, catalog):
    queries = interactions.queries(np.arange(interactions.n_users))
    lists = everything.recommend(queries, 4)
    genres = [g or "" for g in catalog.table.column("genres").to_pylist()]
    for row, items in enumerate(lists.items):
        shown = items[items >= 0].tolist()
        seen = set(queries.histories[row].tolist())
        assert not set(shown) & (seen | {2, 4, 7})
        assert (11 in seen) or 11 in shown[:2]
        unpinned = [genres[i].split() for i in shown if i != 11]
        assert max(sum("Drama" in g for g in unpinned), sum("Comedy" in g for g in unpinned)) <= 2
    assert (lists.propensities[lists.items == 11] == 1).all()
    alone = everything.recommend(queries.take(np.array([5])), 4)
    np.testing.assert_array_equal(alone.items[0], lists.items[5])


def test_a_bundle_brings_all_policies_back(everything, interactions, tmp_path):
    again = llmrec.load(everything.save(tmp_path / "bundle"))
    queries = interactions.queries(np.arange(interactions.n_users))
    before, after = everything.recommend(queries, 5), again.recommend(queries, 5)
    np.testing.assert_array_equal(after.items, before.items)
    np.testing.assert_array_equal(after.scores, before.scores)
    np.testing.assert_array_equal(after.propensities, before.propensities)


def test_new_items_are_under_the_same_rules(everything):
    fields = {"title": "new", "year": 2030}
    grown = everything.add_items(
        [Item("good", {**fields, "genres": "Noir"}), Item("bad", {**fields, "genres": "Thriller"})]
    )
    everyone = {i for row in grown.recommend(grown.queries(histories=[["i0"], ["i5"]]), 14).items.tolist() for i in row}
    assert 12 in everyone
    assert 13 not in everyone
    gone = grown.remove_items(["i11"])
    assert not (gone.recommend(gone.queries(histories=[[]]), 14).items == 11).any()


def test_policies_and_fusions_need_no_torch():
    code = "import sys, llmrec.policy, llmrec.fuse; print([m for m in ('torch', 'pyversity') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
