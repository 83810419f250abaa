import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from llmrec.component import FitContext, Simulated
from llmrec.data import Holdout
from llmrec.fuse import ReciprocalRankFusion, RrfConfig
from llmrec.fuse.lift import MIN_NEW, Lift, fit_lift, new_targets, split_gains
from llmrec.fuse.rrf import COMPONENT
from llmrec.types import Candidates, Queries

NAN = np.nan
WIDTH = 20


def simulated(seed, n=400, right=0.5, new=8):
    """Items 0 and 1 are new. "seen" ranks known targets first; "read" finds new targets, so often as it is right."""
    rng = np.random.default_rng(seed)
    items = np.stack([rng.permutation(WIDTH) for _ in range(n)]).astype(np.int32)
    is_new = items < 2
    targets = np.where(np.arange(n) % new == 0, rng.integers(0, 2, n), rng.integers(2, WIDTH, n)).astype(np.int32)
    wanted = items == targets[:, None]
    seen = np.where(is_new, NAN, rng.normal(size=items.shape) + 2 * wanted).astype(np.float32)
    read = (rng.normal(size=items.shape) + np.where(is_new & wanted & (rng.random((n, 1)) < right), 9, 0)).astype(
        np.float32
    )
    cases = Holdout(np.arange(n), Queries.from_lists([[]] * n), targets)
    return Simulated(
        np.arange(WIDTH) < 2, np.arange(n), cases, Candidates(items, {"seen": seen, "read": read}), np.ones(n)
    )


def fused(part, lift, config=None):
    fusion = ReciprocalRankFusion("rrf", config or RrfConfig(), {"seen": 1.0, "read": 0.0}, lift=lift)
    return fusion.fuse(part.cases.queries, part.candidates)


def learned(parts, cost):
    return fit_lift(fused, parts, cost)


@pytest.mark.parametrize("seed", range(3))
def test_new_items_rise_as_far_as_they_may_cost(seed):
    parts = (simulated(seed), simulated(seed + 10))
    without = split_gains(parts, [np.where(np.isnan(p.candidates.columns["seen"]), -np.inf, 0) for p in parts])
    assert without[0] == 0
    shares, found = [], []
    for cost in (0.0, 0.05, 0.2, 1.0):
        lift = learned(parts, cost)
        new, others = split_gains(parts, [fused(p, lift) for p in parts])
        last = lift.report["NDCG@10, other targets, new items last"]
        assert others >= (1 - cost) * last
        assert (lift.report["NDCG@10, new targets"], lift.report["NDCG@10, other targets"]) == (new, others)
        assert lift.blind == ("seen",)
        assert lift.report["cases"] == 800
        shares.append(lift.share)
        found.append(new)
    assert found == sorted(found)
    assert shares == sorted(shares)
    assert found[-1] > found[0] + 0.1


def test_with_too_few_new_targets_nothing_is_learned():
    few = simulated(0, n=8 * (MIN_NEW - 1))
    assert new_targets([few]) == MIN_NEW - 1
    assert learned([few], 1.0) is None
    assert learned([few, simulated(1, n=16)], 1.0) is not None
    assert learned([], 1.0) is None


def test_with_no_blind_column_nothing_is_learned():
    part = simulated(0)
    seen = {name: np.nan_to_num(column) for name, column in part.candidates.columns.items()}
    assert learned([replace(part, candidates=Candidates(part.candidates.items, seen))], 1.0) is None


def test_cases_count_as_often_as_they_stand_for():
    part = simulated(0)
    scores = [np.nan_to_num(part.candidates.columns["seen"])]
    hit = np.zeros(len(part.rows))
    for row in range(len(hit)):
        alone = replace(
            part,
            cases=Holdout(np.arange(1), part.cases.queries.take(np.array([row])), part.cases.targets[[row]]),
            candidates=Candidates(part.candidates.items[[row]]),
            weights=np.ones(1),
        )
        hit[row] = max(split_gains([alone], [scores[0][[row]]]))
    weights = np.arange(1.0, len(hit) + 1)
    expected = np.average(hit[~part.is_new], weights=weights[~part.is_new])
    assert split_gains([replace(part, weights=weights)], scores)[1] == pytest.approx(expected)


def test_pads_do_not_compete():
    part = simulated(0, n=80)
    items = np.where(np.arange(WIDTH) < 15, part.candidates.items, -1).astype(np.int32)
    padded = replace(part, candidates=Candidates(items, part.candidates.columns))
    low, high = (np.where(items >= 0, part.candidates.columns["read"], edge) for edge in (-99, 99))
    assert split_gains([padded], [low]) == split_gains([padded], [high])


def test_by_hand():
    columns = {"seen": np.float32([[3, 2, NAN, NAN], [NAN] * 4]), "read": np.float32([[1, 2, 3, NAN], [1, 2, 3, 4]])}
    candidates = Candidates(np.int32([[4, 7, 2, 5], [4, 7, 2, -1]]), columns)
    config = RrfConfig(constant=10, new_item_share=0.9)
    fusion = ReciprocalRankFusion("rrf", config, {"seen": 1.0, "read": 0.0}, ("read",), Lift(("seen",), 0.5))
    found = fusion.fuse(Queries.from_lists([[], []]), candidates)
    # the second row is a new user: no item in it is new
    np.testing.assert_allclose(found[0], [1 / 11, 1 / 12, 0.5 / 11, 0], rtol=1e-6)
    np.testing.assert_allclose(found[1, :3], [1e-3 / 14, 1e-3 / 13, 1e-3 / 12], rtol=1e-6)
    wish = fusion.fuse(Queries.from_lists([[], []], ["a wish", None]), candidates)
    plain = replace(fusion, lift=None).fuse(Queries.from_lists([[], []], ["a wish", None]), candidates)
    np.testing.assert_array_equal(wish[0], plain[0])


def test_of_a_known_item_missing_evidence_speaks_against_it():
    """Two columns of equal weight, of which the second does not name one of the items: no shared word, say."""
    columns = {"seen": np.float32([[3, 2, NAN]]), "words": np.float32([[NAN, 2, 1]])}
    candidates = Candidates(np.int32([[4, 7, 2]]), columns)
    fusion = ReciprocalRankFusion("rrf", RrfConfig(constant=10), {"seen": 1.0, "words": 1.0}, (), Lift(("seen",), 0.5))
    found = fusion.fuse(Queries.from_lists([[]]), candidates)[0]
    new = 2 / 12 * (0.5 + 0.5 * 0.5)  # the other column speaks for it, at a share of a half and half of the weight
    np.testing.assert_allclose(found, [2 / 11 * (1e-3 + (1 - 1e-3) / 2), 1 / 12 + 1 / 11, new], rtol=1e-5)


def test_known_items_stay_where_they_are():
    part = simulated(3)
    for share in (0.0, 0.5, 1.0):
        lifted, plain = fused(part, Lift(("seen",), share)), fused(part, None)
        known = ~np.isnan(part.candidates.columns["seen"])
        np.testing.assert_array_equal(lifted[known], plain[known])
    even = RrfConfig().new_item_share
    np.testing.assert_array_equal(fused(part, Lift(("seen",), even)), fused(part, None))


def test_fitting_learns_it_and_the_bundle_keeps_it(catalog, interactions):
    part = simulated(0)
    asked = []

    def simulate(count):
        asked.append(count)
        return (part,)

    nobody = np.empty(0, np.int64)
    cases = Holdout(nobody, interactions.queries(nobody), np.empty(0, np.int32))
    context = FitContext("rrf", catalog, interactions, validation=cases, candidates=part.candidates, simulate=simulate)
    weights = {"seen": 1.0, "read": 0.0}
    fusion = COMPONENT.fit(context, RrfConfig(weights=weights, new_item_cases=77, new_item_cost=0.2))
    assert asked == [77]
    assert fusion.lift == fit_lift(fused, [part], 0.2)
    state = json.loads(json.dumps(fusion.state().config))
    assert COMPONENT.load("rrf", SimpleNamespace(config=state), catalog) == fusion
    del state["lift"]  # a bundle of before
    assert COMPONENT.load("rrf", SimpleNamespace(config=state), catalog).lift is None
    assert COMPONENT.fit(replace(context, simulate=lambda count: ()), RrfConfig(weights=weights)).lift is None


def test_a_column_that_tells_what_is_new_is_not_spared():
    items = np.int32([[4, 7]])
    candidates = Candidates(items, {"seen": np.float32([[1, 2]]), "read": np.float32([[1, 2]])})
    fusion = ReciprocalRankFusion("rrf", RrfConfig(), {"seen": 0.0, "read": 1.0}, lift=Lift(("seen",), 0.5))
    assert fusion.ignores(Queries.from_lists([[]]), candidates) == frozenset()
    assert replace(fusion, lift=None).ignores(Queries.from_lists([[]]), candidates) == {"seen"}
    assert fusion.forgetting(np.ones(9, dtype=np.bool_)) == fusion
