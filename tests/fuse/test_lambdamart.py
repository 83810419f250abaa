from dataclasses import replace

import numpy as np
import pytest

from llmrec.build import fit
from llmrec.config import Config
from llmrec.data import Holdout
from llmrec.errors import MissingExtraError
from llmrec.fuse import LambdaMartConfig, fit_lambdamart
from llmrec.fuse.lambdamart import place, place_unjudged
from llmrec.fuse.lambdamart_fit import COMPONENT, COSTS
from llmrec.fuse.lift import MIN_NEW, split_gains
from llmrec.testing.contracts import reload
from llmrec.testing.data import new_items, tiny_catalog, tiny_interactions
from llmrec.testing.fusion import learned_fusion, planted_context, planted_simulation
from llmrec.types import Candidates

SMALL = {"max_trees": 20, "learning_rate": 0.3, "min_leaf": 10, "folds": 2, "depth": 12}


@pytest.fixture(scope="module")
def learned(catalog, interactions):
    return learned_fusion(catalog, interactions)


@pytest.fixture(scope="module")
def cases(catalog, interactions):
    """Cases of the same kind that it was not fitted on."""
    context = planted_context(catalog, interactions, n=300, seed=1)
    return context.candidates, context.validation


def found_first(fused, candidates, cases):
    first = np.take_along_axis(candidates.items, fused.argmax(axis=1)[:, None], axis=1)[:, 0]
    return float((first == cases.targets).mean())


def test_trees_find_what_no_weights_can(learned, cases):
    candidates, asked = cases
    assert not learned.fallback
    trees = found_first(learned.fuse(asked.queries, candidates), candidates, asked)
    weighted = found_first(learned.rrf.fuse(asked.queries, candidates), candidates, asked)
    assert trees > weighted + 0.15


def test_the_report_says_what_was_measured(learned):
    report = learned.report
    assert report["cases"] == 600
    assert 500 < report["learned from"] <= 600
    assert report["trees"] in (10, 20)
    measured = report["NDCG@10"]
    assert measured["trees"] > measured["rrf"] + 0.05
    assert len(measured) == 3
    shares = [share for _, share in report["gain"]]
    assert sum(shares) == pytest.approx(1)
    assert shares == sorted(shares, reverse=True)
    assert f"trees {measured['trees']:.4f}" in learned.summary
    assert report["gain"][0][0] in learned.summary


def test_out_of_fold_is_not_on_what_was_learned(catalog, interactions):
    """Noise can be learned by heart, and must not look like a gain."""
    context = planted_context(catalog, interactions, n=300)
    rng = np.random.default_rng(0)
    targets = rng.permuted(context.candidates.items, axis=1)[:, 0]
    context = replace(context, validation=replace(context.validation, targets=targets))
    config = LambdaMartConfig(**{**SMALL, "leaves": 200, "min_leaf": 1, "depth": 12})
    fusion = fit_lambdamart(context, config)
    assert fusion.fallback
    assert "users out of fold" in fusion.report["fallback"]
    assert fusion.report["NDCG@10"]["trees"] == pytest.approx(fusion.report["NDCG@10"]["rrf"], abs=0.05)


def test_few_cases_fall_back_to_weighted_rrf(catalog, interactions, cases):
    candidates, asked = cases
    fusion = learned_fusion(catalog, interactions, n=150)
    assert fusion.fallback
    assert "are needed" in fusion.summary
    np.testing.assert_array_equal(fusion.fuse(asked.queries, candidates), fusion.rrf.fuse(asked.queries, candidates))
    assert fusion.ignores(asked.queries, candidates) == fusion.rrf.ignores(asked.queries, candidates)


def test_without_cases_all_columns_count_alike(catalog, interactions):
    context = planted_context(catalog, interactions, n=5)
    nobody = np.empty(0, np.int64)
    none = Holdout(nobody, context.validation.queries.take(nobody), np.empty(0, np.int32))
    empty = Candidates(np.empty((0, 12), np.int32), {n: np.empty((0, 12), np.float32) for n in ("ease", "dense")})
    fusion = fit_lambdamart(replace(context, validation=none, candidates=empty), LambdaMartConfig())
    assert fusion.fallback
    assert fusion.rrf.weights == {"ease": 1.0, "dense": 1.0}


def test_fitting_twice_gives_the_same_to_the_last_bit(catalog, interactions, learned, monkeypatch):
    monkeypatch.setenv("LLMREC_THREADS", "2")
    again = learned_fusion(catalog, interactions)
    assert again.trees.text == learned.trees.text
    assert again.report == learned.report


def test_alone_is_as_in_a_batch(learned, cases):
    candidates, asked = cases
    together = learned.fuse(asked.queries, candidates)
    for row in range(5):
        one = Candidates(
            candidates.items[row : row + 1],
            {n: c[row : row + 1] for n, c in candidates.columns.items()},
            {n: r[row : row + 1] for n, r in candidates.source_ranks.items()},
        )
        np.testing.assert_array_equal(learned.fuse(asked.queries.take(np.array([row])), one)[0], together[row])


def test_a_wish_is_answered_by_weighted_rrf(learned, cases):
    candidates, asked = cases
    learned = replace(learned, rrf=replace(learned.rrf, wish_columns=("dense",)))
    texts = ["a slow western" if row % 2 else None for row in range(len(asked))]
    queries = replace(asked.queries, texts=texts)
    fused, plain = learned.fuse(queries, candidates), learned.fuse(asked.queries, candidates)
    np.testing.assert_array_equal(fused[1::2], learned.rrf.fuse(queries, candidates)[1::2])
    np.testing.assert_array_equal(fused[::2], plain[::2])
    assert (fused[1::2] != plain[1::2]).any()


def ranks(scores):
    return (-scores).argsort(axis=1, kind="stable").argsort(axis=1)


def test_what_cannot_be_judged_keeps_its_place(learned, cases):
    """A new item, unknown to the collaborative column that every target was known to, stands where RRF puts it."""
    candidates, asked = cases
    new = np.arange(candidates.items.shape[1])[None, :] == 3
    items = np.where(new, np.int32(40), candidates.items)  # a row that came after the fit
    columns = {n: np.where(new, np.float32(np.nan), c) if n != "dense" else c for n, c in candidates.columns.items()}
    columns["dense"] = np.where(new, np.float32(9), np.nan_to_num(columns["dense"]))
    changed = Candidates(items, columns, candidates.source_ranks)
    fused, weighted = learned.fuse(asked.queries, changed), learned.rrf.fuse(asked.queries, changed)
    np.testing.assert_array_equal(ranks(fused)[:, 3], ranks(weighted)[:, 3])
    assert (ranks(fused) != ranks(weighted)).any()
    assert (ranks(fused)[:, 3] < 8).all()


def test_a_new_user_gets_weighted_rrf(learned, cases):
    candidates, asked = cases
    columns = {**candidates.columns, "ease": np.full_like(candidates.columns["ease"], np.nan)}
    unknown = replace(candidates, columns=columns)
    np.testing.assert_array_equal(learned.fuse(asked.queries, unknown), learned.rrf.fuse(asked.queries, unknown))


def test_beyond_the_depth_rrf_orders(catalog, interactions, cases):
    candidates, asked = cases
    fusion = learned_fusion(catalog, interactions)
    shallow = replace(fusion, config=fusion.config.model_copy(update={"depth": 4}))
    weighted = fusion.rrf.fuse(asked.queries, candidates)
    order, best = ranks(shallow.fuse(asked.queries, candidates)), ranks(weighted)
    np.testing.assert_array_equal(order[best >= 4], best[best >= 4])
    assert (order[best < 4] != best[best < 4]).any()


def test_places_by_hand():
    fused = np.float32([[0.9, 0.8, 0.7, 0.6, 0.5, 0.0]])
    scores = np.float32([[1.0, 0.0, 3.0, 0.0, 2.0, 0.0]])
    judged = np.array([[True, False, True, False, True, False]])
    there = np.array([[True] * 5 + [False]])
    found = place_unjudged(fused, scores, judged, there)[0]
    # by the trees: 2, 4, 0; candidate 1 is second of weighted RRF, 3 fourth
    assert np.argsort(-found[:5]).tolist() == [2, 1, 4, 3, 0]
    assert found[5] == 0
    level = place_unjudged(fused, np.zeros_like(scores), judged, there)[0]
    assert np.argsort(-level[:5]).tolist() == [0, 1, 2, 3, 4]  # what the trees cannot tell apart, RRF orders
    ahead = np.float32([[0.5, 0.6, 0.7, 0.9, 0.8, 0.0]])
    assert place_unjudged(ahead, scores, judged, there)[0].argmax() == 3


def test_the_trees_come_back(learned, catalog, cases, tmp_path):
    candidates, asked = cases
    again = reload(learned, catalog, tmp_path)
    np.testing.assert_array_equal(again.fuse(asked.queries, candidates), learned.fuse(asked.queries, candidates))
    assert again.report == dict(learned.report)
    assert again.summary == learned.summary
    assert again.config == learned.config


def test_a_column_no_tree_looks_at_may_be_spared(learned, cases):
    candidates, asked = cases
    idle = replace(learned, trees=replace(learned.trees, unused=("popularity",)))
    idle = replace(idle, rrf=replace(idle.rrf, weights={"ease": 1.0, "dense": 1.0, "popularity": 0.0}))
    assert idle.ignores(asked.queries, candidates) == {"popularity"}
    used = replace(idle, trees=replace(idle.trees, unused=()))
    assert used.ignores(asked.queries, candidates) == frozenset()


def test_lightgbm_missing_is_said(monkeypatch, catalog, interactions, learned):
    import sys

    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(MissingExtraError, match=r"llmrec\[rank\]"):
        learned_fusion(catalog, interactions)
    with pytest.raises(MissingExtraError, match="lightgbm"):
        COMPONENT.load("it", learned.state(), catalog)
    assert COMPONENT.requires == ("lightgbm",)


def fitted_with_new_items(catalog, interactions, simulate=None, **settings):
    context = planted_context(catalog, interactions)
    simulated = planted_simulation(catalog, context.validation)
    context = replace(context, simulate=simulate or (lambda count: simulated))
    return fit_lambdamart(context, LambdaMartConfig(**{**SMALL, **settings}))


@pytest.fixture(scope="module")
def aware(catalog, interactions):
    return fitted_with_new_items(catalog, interactions, rrf={"new_item_cost": 0.1})


@pytest.fixture(scope="module")
def with_new(catalog, interactions):
    """Cases with new items that it was not fitted on."""
    context = planted_context(catalog, interactions, n=300, seed=1)
    return planted_simulation(catalog, context.validation, seed=1)[0]


def shares_found(fused, part):
    first = np.take_along_axis(part.candidates.items, fused.argmax(axis=1)[:, None], axis=1)[:, 0]
    right = first == part.cases.targets
    return right[part.is_new].mean(), right[~part.is_new].mean()


def test_trees_learn_what_to_make_of_new_items(aware, learned, with_new):
    fusion = aware.forgetting(with_new.forgotten)
    unaware = learned.forgetting(with_new.forgotten)
    new, others = shares_found(fusion.fuse(with_new.cases.queries, with_new.candidates), with_new)
    new_before, others_before = shares_found(unaware.fuse(with_new.cases.queries, with_new.candidates), with_new)
    assert new > new_before + 0.3
    assert others > others_before - 0.1
    assert aware.trees.new.always == ("dense",)
    assert learned.trees.new is None


def test_known_items_are_judged_as_well_as_without(aware, learned, cases):
    candidates, asked = cases
    one, other = (found_first(f.fuse(asked.queries, candidates), candidates, asked) for f in (aware, learned))
    assert one > other - 0.05


def test_new_items_rise_as_far_as_they_may_cost(catalog, interactions, aware):
    name = "new items, NDCG@10 on new and other targets"
    dear = aware.report[name]
    none = fitted_with_new_items(catalog, interactions, rrf={"new_item_cost": 0.0})
    cheap = none.report[name]
    assert dear["placed by trees"][1] >= 0.9 * dear["new items last"][1]
    assert dear["placed by trees"][0] > dear["placed by rrf"][0]
    if "placed by trees" in cheap:
        assert cheap["placed by trees"][1] >= cheap["new items last"][1]
    found = [dear[f"at a cost of {cost:g}"] for cost in COSTS]
    gained = [0.0 if one is None else one[0] for one in found]
    assert gained == sorted(gained)
    assert aware.report["new items, rrf"] == aware.rrf.lift.report


def test_what_is_served_is_what_was_measured(aware, with_new):
    found = aware.report["new items, NDCG@10 on new and other targets"]
    fusion = aware.forgetting(with_new.forgotten)
    served = fusion.fuse(with_new.cases.queries, with_new.candidates)
    np.testing.assert_allclose(split_gains([with_new], [served]), found["placed by trees"], atol=0.05)
    assert found["lift"] != 0
    assert np.sign(fusion.trees.new.lift) == np.sign(found["lift"])
    high = replace(fusion, trees=replace(fusion.trees, new=replace(fusion.trees.new, lift=99.0)))
    lifted = high.fuse(with_new.cases.queries, with_new.candidates)
    assert split_gains([with_new], [lifted])[1] < found["placed by trees"][1] - 0.2


def test_the_report_has_every_column(aware, learned):
    for fusion in (aware, learned):
        quality = fusion.report["quality"]
        assert set(quality) == {"trees", "rrf", "ease", "dense", "popularity"}
        for found in quality.values():
            assert set(found) == {"NDCG@10", "Recall@10", "Recall@200"}
            assert found["Recall@10"][0] <= found["Recall@200"][0]
        assert quality["trees"]["NDCG@10"][0] == fusion.report["NDCG@10"]["trees"]
        assert 0 < quality["trees"]["NDCG@10"][1] < 0.05


def test_without_enough_new_targets_nothing_changes(catalog, interactions, learned, cases):
    candidates, asked = cases
    context = planted_context(catalog, interactions)
    part = planted_simulation(catalog, context.validation)[0]
    few = np.concatenate([np.flatnonzero(part.is_new)[: MIN_NEW - 1], np.flatnonzero(~part.is_new)]).astype(np.int64)
    asked_again = Holdout(few, part.cases.queries.take(few), part.cases.targets[few])
    short = replace(part, rows=few, cases=asked_again, candidates=part.candidates.take(few), weights=part.weights[few])
    same = fitted_with_new_items(catalog, interactions, lambda count: (short,))
    assert same.trees.text == learned.trees.text
    np.testing.assert_array_equal(same.fuse(asked.queries, candidates), learned.fuse(asked.queries, candidates))


def test_simulating_is_asked_once_for_as_many_as_set(catalog, interactions):
    asked = []
    fitted_with_new_items(catalog, interactions, lambda count: asked.append(count) or (), rrf={"new_item_cases": 9})
    assert asked == [9]


def test_what_was_learned_of_new_items_comes_back(aware, catalog, with_new, tmp_path):
    again = reload(aware, catalog, tmp_path)
    assert (again.trees.new, again.rrf.lift) == (aware.trees.new, aware.rrf.lift)
    one, other = (
        f.forgetting(with_new.forgotten).fuse(with_new.cases.queries, with_new.candidates) for f in (aware, again)
    )
    np.testing.assert_array_equal(one, other)


def test_places_of_new_items_by_hand():
    fused = np.float32([[0.9, 0.8, 0.7, 0.6, 0.5, 0.0]])
    scores = np.float32([[1.0, 2.0, 0.0, 1.5, 0.5, 0.0]])
    judged = np.array([[True, True, False, True, True, False]])
    known = np.array([[True, True, True, False, False, False]])
    there = np.array([[True] * 5 + [False]])
    found = place(fused, scores, judged, known, there)[0]
    # known: 1, 0 by the trees, 2 after them; new: 3 goes in between, 4 is below any known one that is judged
    assert np.argsort(-found[:5]).tolist() == [1, 3, 0, 2, 4]
    nothing = place(fused, scores, np.zeros_like(judged), known, there)
    np.testing.assert_array_equal(nothing, fused)
    strangers = place(fused, scores, judged & ~known, known, there)[0]
    assert np.argsort(-strangers[:5]).tolist() == [0, 1, 2, 3, 4]
    strangers = place(fused, -scores, judged & ~known, known, there)[0]
    assert np.argsort(-strangers[:5]).tolist() == [0, 1, 2, 4, 3]


@pytest.fixture(scope="module")
def pipeline(bert):
    catalog = tiny_catalog(40)
    log = tiny_interactions(3, catalog, n_users=400)
    dense = {"encoder": str(bert), "item_template": "item/title"}
    retrievers = {"popularity": {}, "ease": {"l2": 5.0}, "dense": dense}
    fusion = {
        "type": "lambdamart",
        **SMALL,
        "depth": 30,
        "min_cases": 50,
        "caution": 0,
        "rrf": {"weights": {"ease": 1}},
    }
    stage = {"name": "hybrid", "retrievers": retrievers, "fusion": fusion}
    told = []
    fitted = fit(Config.from_dict({"stages": [stage]}), catalog, log, holdout="last", progress=told.append)
    return fitted, told


def test_in_a_pipeline(pipeline, tmp_path):
    fitted, told = pipeline
    fusion = fitted.stages[0].fusion
    assert f"hybrid_fusion: {fusion.summary}" in told
    again = type(fitted).load(fitted.save(tmp_path / "bundle"))
    queries = fitted.history_queries(fitted.histories)
    np.testing.assert_array_equal(again.recommend(queries, 10).items, fitted.recommend(queries, 10).items)
    assert fusion.summary in (tmp_path / "bundle" / "README.md").read_text()


def test_a_new_item_can_be_recommended_at_once(pipeline):
    fitted, _ = pipeline
    context = planted_context(fitted.catalog, fitted.histories, n=600)
    trees = fit_lambdamart(replace(context, name="hybrid_fusion"), LambdaMartConfig(**SMALL))
    assert not trees.fallback
    stage = replace(fitted.stages[0], fusion=trees)
    grown = replace(fitted, stages=(stage,)).add_items(new_items(2))
    texts = grown.search(["brand new 0"], 1).items
    assert grown.catalog.items[int(texts[0, 0])].startswith("new")
    everyone = grown.recommend(grown.history_queries(grown.histories), 20).items
    assert (everyone >= 40).any()
    wished = grown.recommend(grown.queries(wishes=["brand new 0"]), 3)
    assert (wished.items >= 40).any()
