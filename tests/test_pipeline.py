from dataclasses import dataclass, replace

import numpy as np
import pytest

from llmrec.data import Catalog
from llmrec.errors import BundleError, ConfigError, DataError, UnknownIdError
from llmrec.opening import load
from llmrec.pipeline import Recommender
from llmrec.retrieve import fit_popularity
from llmrec.stage import Stage
from llmrec.testing.contracts import check_ranking
from llmrec.testing.data import new_items
from llmrec.types import Csr, Item, Queries, Ranking


def same(one, other):
    np.testing.assert_array_equal(one.items, other.items)
    np.testing.assert_array_equal(one.scores, other.scores)


@pytest.fixture(params=["hybrid", "cascade"])
def recommender(request):
    return request.getfixturevalue(request.param)


def test_lists_are_full_well_formed_and_fall_strictly(recommender, queries):
    for k in (1, 5, 12, 30):
        found = recommender.recommend(queries, k)
        check_ranking(found, len(queries), 12)
        assert found.items.shape == (len(queries), min(k, 12))
        for row, (items, scores) in enumerate(zip(found.items, found.scores, strict=True)):
            history = queries.histories[row]
            count = min(k, 12 - len(history))
            assert (items >= 0).sum() == count
            assert not set(items[:count].tolist()) & set(history.tolist())
            assert (np.diff(scores[:count]) < 0).all()


def test_filters_and_exclusions_shorten_a_list_only_by_themselves(recommender, queries):
    allow = np.isin(np.arange(12), [0, 1, 2, 3, 10, 11])
    asked = replace(queries, allow=allow, exclude=Csr.from_lists([[10]] * len(queries)))
    found = recommender.recommend(asked, 12)
    for row, items in enumerate(found.items):
        expected = {0, 1, 2, 3, 11} - set(queries.histories[row].tolist())
        assert set(items[items >= 0].tolist()) == expected


def test_batches_do_not_matter(recommender, queries, monkeypatch):
    whole = recommender.recommend(queries, 5)
    for row in range(len(queries)):
        alone = recommender.recommend(queries.take(np.array([row])), 5)
        np.testing.assert_array_equal(alone.items[0], whole.items[row])
        np.testing.assert_allclose(alone.scores[0], whole.scores[row], rtol=1e-4)
    monkeypatch.setattr("llmrec.retrieve.base.BLOCK_CELLS", 1)
    np.testing.assert_array_equal(recommender.recommend(queries, 5).items, whole.items)


def test_no_queries_no_lists(recommender):
    assert recommender.recommend(Queries.from_lists([]), 5).items.shape == (0, 5)
    assert recommender.decode(recommender.recommend(Queries.from_lists([]), 5)) == []


@pytest.mark.parametrize("k", [0, -1])
def test_k_must_be_positive(recommender, queries, k):
    for ask in (recommender.recommend, recommender.trace):
        with pytest.raises(ConfigError, match="k must be at least 1"):
            ask(queries, k)


@pytest.mark.parametrize("k", [2.5, True, "3", None])
def test_k_must_be_a_whole_number(hybrid, queries, k):
    for ask in (hybrid.recommend, hybrid.trace):
        with pytest.raises(ConfigError, match="k must be a whole number"):
            ask(queries, k)
    for ask in (hybrid.similar, hybrid.search):
        with pytest.raises(ConfigError, match="k must be a whole number"):
            ask(["i1"], k)
    with pytest.raises(ConfigError, match="k must be at least 1"):
        hybrid.similar(["i1"], 0)
    assert hybrid.recommend(queries, np.int64(3)).items.shape[1] == 3


@dataclass(frozen=True)
class Few:
    """Proposes two fixed items and knows nothing else."""

    name: str = "few"

    def retrieve(self, queries, k):
        items = np.tile(np.array([4, 9], np.int32), (len(queries), 1))[:, :k]
        return Ranking(items, np.ones(items.shape, np.float32))

    def score(self, queries, items):
        return np.where(np.isin(items, [4, 9]), np.where(items == 9, 2, 1), np.nan).astype(np.float32)


def shallow(hybrid, fallback):
    fusion = replace(hybrid.stages[0].fusion, weights={"few": 1.0})
    stage = Stage("first", ((Few(), 2),), (), fusion, 2)
    return replace(hybrid, stages=(stage,), fallback=fallback, policies=())


def test_the_fallback_fills_below_what_the_stages_propose(hybrid, catalog, interactions):
    popularity = fit_popularity(interactions, catalog)
    recommender = shallow(hybrid, popularity)
    queries = Queries.from_lists([[], [1]])
    trace = recommender.trace(queries, 6)
    by_count = [i for i in popularity.retrieve(queries, 12).items[0].tolist() if i not in (4, 9)]
    for row in range(2):
        assert trace.ranking.items[row].tolist() == [9, 4, *by_count[:4]]
        assert trace.from_fallback[row].tolist() == [False] * 2 + [True] * 4
        assert (np.diff(trace.ranking.scores[row]) < 0).all()
    assert not recommender.trace(queries, 2).from_fallback.any()


def test_a_list_is_full_even_where_the_fallback_knows_nothing(hybrid):
    ease = next(r for r, _ in hybrid.stages[0].retrievers if r.name == "ease")
    found = shallow(hybrid, ease).recommend(Queries.from_lists([[], [1]]), 12)
    assert [sorted(row) for row in found.items.tolist()] == [list(range(12))] * 2
    gone = shallow(hybrid, ease).remove_items(["i0", "i7"]).recommend(Queries.from_lists([[]]), 12)
    assert sorted(gone.items[0].tolist()) == [-1, -1, *(i for i in range(12) if i not in (0, 7))]


def test_stages_that_propose_nothing_leave_it_to_the_fallback(hybrid):
    by_name = {r.name: r for r, _ in hybrid.stages[0].retrievers}
    fusion = replace(hybrid.stages[0].fusion, weights={"ease": 1.0})
    only = replace(hybrid, stages=(Stage("first", ((by_name["ease"], 5),), (), fusion, 5),))
    asked = Queries.from_lists([[]])
    np.testing.assert_array_equal(only.recommend(asked, 6).items, by_name["popularity"].retrieve(asked, 6).items)


def test_without_the_seen_policy_seen_items_may_come_back(hybrid, queries):
    found = replace(hybrid, policies=()).recommend(queries, 12)
    assert (found.items >= 0).all()


def test_a_later_stage_reorders_what_the_earlier_one_kept(cascade, hybrid, queries):
    first, both = hybrid.recommend(queries, 12), cascade.recommend(queries, 12)
    for row in range(len(queries)):
        assert set(both.items[row, :4].tolist()) == set(first.items[row, :4].tolist())
        assert both.items[row, 4:].tolist() == first.items[row, 4:].tolist()
    assert (both.items != first.items).any()


def test_the_trace_tells_how_the_ranking_came_about(cascade, queries):
    trace = cascade.trace(queries, 6)
    same(trace.ranking, cascade.recommend(queries, 6))
    assert [stage.name for stage in trace.stages] == ["hybrid", "rerank"]
    for row in range(len(queries)):
        last = trace.stages[-1].candidates.items[row]
        assert trace.ranking.items[row, :4].tolist() == last[last >= 0].tolist()[:4]
        for place, item in enumerate(trace.ranking.items[row, :4].tolist()):
            ranks, scores = trace.ranks(row, item), trace.scores(row, item)
            assert ranks["rerank"] == place + 1
            assert ranks["hybrid"] <= 4
            assert 1 <= ranks["popularity"] <= 12
            assert {"popularity", "hybrid", "rerank"} <= set(scores)
            assert ("cross_encoder" in scores) == (len(queries.histories[row]) > 0 and not queries.wishes[row])
            assert ("dense" in scores) == (len(queries.histories[row]) > 0 or bool(queries.texts[row]))
    assert trace.queries.exclude is not None
    assert trace.ranks(0, 99) == {}
    assert trace.stages[0].survivors.items.shape[1] == 4


def encoded(recommender):
    return next(r for r, _ in recommender.stages[0].retrievers if r.name == "dense").encoder.encoded


def test_new_items_are_recommended_at_once(cascade, queries):
    before = cascade.recommend(queries, 5)
    calls = encoded(cascade)
    grown = cascade.add_items([Item("new", {"title": "a lonely submarine captain"})])
    assert encoded(grown) == calls + 1
    assert len(grown.catalog) == 13
    assert len(cascade.catalog) == 12
    same(cascade.recommend(queries, 5), before)

    first = replace(grown, stages=grown.stages[:1])
    wish = first.queries(wishes=["a lonely submarine captain"])
    assert first.decode(first.recommend(wish, 1))[0][0].item_id == "new"
    by_history = first.recommend(first.queries(histories=[["i1"]]), 13)
    assert 12 in by_history.items[0]
    assert not first.trace(first.queries(histories=[["i1"]]), 13).from_fallback.any()
    assert (grown.recommend(queries, 13).items == 12).any(axis=1).all()
    seen = grown.recommend(grown.queries(histories=[["new"]]), 13)
    assert 12 not in seen.items[0]
    assert (seen.items[0] >= 0).sum() == 12


def test_old_scores_stay_when_the_catalog_grows(hybrid, queries):
    grown = hybrid.add_items(new_items(3))
    old, new = hybrid.trace(queries, 12), grown.trace(queries, 12)
    for row in range(len(queries)):
        for item in range(12):
            before, after = old.scores(row, item), new.scores(row, item)
            for name in before.keys() & {"popularity", "ease", "dense"}:
                assert after[name] == pytest.approx(before[name], rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("items", [[Item("i3", {})], [Item("x", {"colour": "red"})], [Item("x", {}), Item("x", {})]])
def test_wrong_new_items_are_refused(hybrid, items):
    with pytest.raises(DataError):
        hybrid.add_items(items)


def test_deleted_items_never_come_back(recommender, queries, tmp_path):
    gone = recommender.add_items(new_items(1)).remove_items(["i2", "new0"])
    for it in (gone, gone.add_items([Item("later", {"title": "x"})]), load(gone.save(tmp_path / "bundle"))):
        found = it.recommend(queries, 14)
        assert not np.isin(found.items, [2, 12]).any()
        assert (found.items[0] >= 0).sum() == len(it.catalog) - 2
        assert not np.isin(it.similar(["i0", "i2"], 14).items, [2, 12]).any()
        assert not np.isin(it.search(["red night"], 14).items, [2, 12]).any()
    assert (recommender.recommend(Queries.from_lists([[]]), 12).items == 2).any()
    with pytest.raises(UnknownIdError):
        recommender.remove_items(["nope"])


def test_items_inactive_from_the_start_are_never_recommended(hybrid_config, catalog, interactions, queries):
    from llmrec.build import fit

    fitted = fit(hybrid_config, catalog.without_items(["i5"]), interactions)
    assert not (fitted.recommend(queries, 12).items == 5).any()


def test_similar_and_search(hybrid):
    assert hybrid.similar(["i0", "i1"], 3).items.shape == (2, 3)
    assert 0 not in hybrid.similar(["i0"], 12).items[0]
    assert hybrid.decode(hybrid.search(["blue river 0"], 1))[0][0].item_id == "i0"
    assert hybrid.search(["x"], 99).items.shape == (1, 12)
    with pytest.raises(UnknownIdError):
        hybrid.similar(["nope"], 3)
    with pytest.raises(DataError, match="empty"):
        hybrid.search([" "], 3)
    stage = hybrid.stages[0]
    blind = replace(hybrid, stages=(replace(stage, retrievers=stage.retrievers[:2]),))
    for ask in (lambda: blind.similar(["i0"], 3), lambda: blind.search(["x"], 3)):
        with pytest.raises(ConfigError, match="add a dense retriever"):
            ask()


def test_queries_of_known_users_are_their_histories(hybrid, interactions):
    found = hybrid.queries(["u3", "u1", "u3"])
    rows = interactions.users.rows(["u3", "u1", "u3"])
    assert [found.histories[i].tolist() for i in range(3)] == [interactions.histories[int(r)].tolist() for r in rows]
    wishing = hybrid.queries(["u3"], wishes=["red"])
    assert wishing.texts == ["red"]
    assert wishing.wishes.all()


def test_queries_from_ids(hybrid):
    found = hybrid.queries(histories=[["i3", "i1"], []], wishes=[None, "x"], exclude=[["i5"], []], allow=["i0", "i2"])
    assert [found.histories[i].tolist() for i in range(2)] == [[3, 1], []]
    assert [found.exclude[i].tolist() for i in range(2)] == [[5], []]
    assert np.flatnonzero(found.allow).tolist() == [0, 2]
    assert found.wishes.tolist() == [False, True]
    assert len(hybrid.queries(histories=[])) == 0


def test_repr_is_one_short_line(hybrid, cascade):
    users = hybrid.histories.n_users
    assert repr(hybrid) == f"Recommender(12 items, {users} users, stages: hybrid)"
    assert repr(replace(cascade, histories=None)) == "Recommender(12 items, stages: hybrid > rerank)"


def test_decode_gives_ids_ranks_and_scores(hybrid):
    ranking = Ranking(np.int32([[3, 0, -1], [-1, -1, -1]]), np.float32([[2, 1, 0], [0, 0, 0]]))
    first, second = hybrid.decode(ranking)
    assert [(r.item_id, r.rank, r.score) for r in first] == [("i3", 1, 2.0), ("i0", 2, 1.0)]
    assert second == []


def test_a_reloaded_recommender_is_the_same(cascade, queries, tmp_path):
    for name, it in (("fitted", cascade), ("grown", cascade.add_items(new_items(2)).remove_items(["i4"]))):
        again = Recommender.load(it.save(tmp_path / name))
        for k in (3, 14):
            same(again.recommend(queries, k), it.recommend(queries, k))
        same(again.similar(["i0"], 5), it.similar(["i0"], 5))
        same(again.search(["red night"], 5), it.search(["red night"], 5))
        same(again.recommend(again.queries(["u3"]), 5), it.recommend(it.queries(["u3"]), 5))
        assert again.about == it.about
        assert again.catalog.fingerprint == it.catalog.fingerprint
        assert again.fallback is again.stages[0].retrievers[0][0]
        more = Item("more", {"title": "more"})
        same(again.add_items([more]).recommend(queries, 5), it.add_items([more]).recommend(queries, 5))


def test_a_loaded_recommender_may_be_saved_over_its_own_bundle(hybrid, queries, tmp_path):
    path = hybrid.save(tmp_path / "bundle")
    again = load(path)
    assert again.save(path) == path
    same(load(path).recommend(queries, 5), hybrid.recommend(queries, 5))
    same(again.recommend(queries, 5), hybrid.recommend(queries, 5))


def test_two_components_of_one_name_cannot_be_saved(hybrid, catalog, interactions, tmp_path):
    with pytest.raises(ConfigError, match="two components are called 'popularity'"):
        replace(hybrid, fallback=fit_popularity(interactions, catalog)).save(tmp_path / "bundle")


def test_what_cannot_be_loaded_says_so(hybrid, tmp_path):
    with pytest.raises(BundleError, match="not a bundle"):
        load(tmp_path / "nowhere")


def test_equal_scores_are_ordered_by_the_hash_of_the_id(hybrid_config, interactions):
    """Renaming nothing but the order of the rows must not change who wins a tie."""
    from llmrec.data import Interactions
    from llmrec.retrieve import fit_popularity

    ids = [f"x{i}" for i in range(30)]
    winners = []
    for order in (ids, ids[::-1]):
        catalog = Catalog.from_table({"item_id": order, "title": order})
        log = Interactions.from_table({"user_id": ["a"], "item_id": ["x3"], "timestamp": [0]}, catalog)
        found = fit_popularity(log, catalog).retrieve(Queries.from_lists([[]]), 30)
        winners.append(catalog.items.decode(found.items[0]))
    assert winners[0] == winners[1]
    assert winners[0] != ["x3", *(i for i in ids if i != "x3")]


def test_a_reranker_of_weight_zero_is_not_run_but_is_traced(cascade, queries):
    rerank = cascade.stages[1]
    weights = {"cross_encoder": 0.0, "hybrid": 1.0}
    quiet = replace(
        cascade, stages=(cascade.stages[0], replace(rerank, fusion=replace(rerank.fusion, weights=weights)))
    )
    model = rerank.scorers[0].model
    asked = queries.take(np.flatnonzero(~queries.wishes))
    before = model.scored
    ranking = quiet.recommend(asked, 5)
    assert model.scored == before
    trace = quiet.trace(asked, 5)
    assert model.scored > before
    np.testing.assert_array_equal(trace.ranking.items, ranking.items)


def test_what_no_stage_proposed_is_marked_wherever_a_policy_puts_it(hybrid):
    class Reversed:
        name = component = "reversed"

        def prepare(self, queries):
            return queries

        def depth(self, k):
            return k

        def apply(self, queries, ranking, k):
            return Ranking(ranking.items[:, ::-1], np.zeros_like(ranking.scores))

    it = replace(shallow(hybrid, hybrid.fallback), policies=(Reversed(),))
    trace = it.trace(Queries.from_lists([[1]]), 8)
    proposed = set(trace.stages[0].candidates.items[0].tolist())
    marked = [item not in proposed for item in trace.ranking.items[0].tolist()]
    assert trace.from_fallback[0].tolist() == marked
    assert marked[0]
    assert not marked[-1]
