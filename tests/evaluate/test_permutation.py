"""Where there is nothing to learn about a user, no method beats popularity; where there is, the same test sees it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmrec.build import fit
from llmrec.config import Config
from llmrec.data import Catalog, Interactions, leave_last_out
from llmrec.evaluate import Case, compare_pairs, judge, parts
from llmrec.testing.permute import shuffle_items, shuffle_last


def three_tastes(n_users, n_items):
    """Users who take ten items each, mostly the popular ones of their own third of the catalog."""
    rng = np.random.default_rng(0)
    ids = [f"i{item}" for item in range(n_items)]
    catalog = Catalog.from_table({"item_id": ids, "title": [f"w{item}" for item in range(n_items)]})
    rows = []
    for user in range(n_users):
        own = np.arange(n_items) % 3 == user % 3
        chance = np.where(own, 1.0, 0.05) / (1 + np.arange(n_items) // 3)
        taken = rng.choice(n_items, size=10, replace=False, p=chance / chance.sum())
        rows += [(f"u{user}", ids[item], int(time)) for item, time in zip(taken, rng.integers(0, 100, 10), strict=True)]
    users, items, times = zip(*rows, strict=True)
    return catalog, Interactions.from_table({"user_id": users, "item_id": items, "timestamp": times}, catalog)


@pytest.fixture(scope="module")
def groups():
    return three_tastes(300, 60)


def over_popularity(fitted, log):
    """Each method's NDCG@5 against popularity's, paired."""
    cases = {name: Case(part, leave_last_out(log).test) for name, part in parts(fitted).items()}
    reports = judge(log, cases, k=(5,))
    base = reports.pop("popularity")
    return {name: compare_pairs(report, base, "NDCG@5") for name, report in reports.items()}


@pytest.fixture(scope="module")
def config(bert):
    dense = {"encoder": str(bert), "item_template": "item/title"}
    retrievers = {"popularity": {}, "ease": {"l2": 50.0}, "dense": dense}
    return Config.from_dict({"stages": [{"name": "hybrid", "retrievers": retrievers}]})


def test_there_is_something_to_learn(config, groups):
    catalog, log = groups
    found = over_popularity(fit(config, catalog, log, holdout="last"), log)
    assert found["ease"].low > 0.1
    assert found["hybrid"].low > 0.1


@pytest.mark.parametrize("shuffle", [shuffle_last, shuffle_items])
@pytest.mark.parametrize("seed", range(2))
def test_nothing_beats_popularity_where_there_is_nothing_to_learn(config, groups, shuffle, seed):
    catalog, log = groups[0], shuffle(groups[1], seed)
    for name, result in over_popularity(fit(config, catalog, log, holdout="last"), log).items():
        assert result.low <= 0, f"{name}: {result}"


@pytest.mark.parametrize("shuffle", [shuffle_last, shuffle_items])
def test_what_has_seen_the_targets_is_found_out(shuffle):
    """The test bites: what was fitted on the targets too, and hides it, beats popularity."""
    catalog, log = three_tastes(100, 300)
    log = shuffle(log, 0)
    plain = Config.from_dict({"stages": [{"name": "hybrid", "retrievers": {"popularity": {}, "ease": {"l2": 1.0}}}]})
    honest = fit(plain, catalog, log, holdout="last")
    assert over_popularity(honest, log)["ease"].low <= 0
    greedy = replace(fit(plain, catalog, log), about=None, histories=None)
    assert over_popularity(greedy, log)["ease"].low > 0.1


def test_shuffling_keeps_everything_else(groups):
    _, log = groups
    shuffled = shuffle_last(log, 3)
    last = np.zeros(len(log), dtype=bool)
    last[log.offsets[1:] - 1] = True
    np.testing.assert_array_equal(shuffled.items[~last], log.items[~last])
    np.testing.assert_array_equal(np.sort(shuffled.items[last]), np.sort(log.items[last]))
    assert (shuffled.items[last] != log.items[last]).mean() > 0.5
    assert shuffle_last(log, 3).fingerprint == shuffled.fingerprint != shuffle_last(log, 4).fingerprint
    everything = shuffle_items(log, 3)
    assert everything.n_users == log.n_users
    assert 0.5 * len(log) < len(everything) < len(log)
    for one in (shuffled, everything):
        assert all(len(set(one.histories[u].tolist())) == len(one.histories[u]) for u in range(one.n_users))


def test_what_cannot_be_dealt_out_is_an_error():
    catalog = Catalog.from_table({"item_id": list("abcd")})
    table = {"user_id": ["u"] * 3 + ["v"] * 3, "item_id": list("abcbcd"), "timestamp": [1, 2, 3] * 2}
    log = Interactions.from_table(table, catalog)
    assert shuffle_last(log, 0).items.tolist() == log.items.tolist()  # the one way to deal: v has the c already
    with pytest.raises(ValueError, match="cannot be dealt out"):
        shuffle_last(replace(log, items=np.array([0, 1, 1, 1, 2, 2], dtype=np.int32)), 0)
