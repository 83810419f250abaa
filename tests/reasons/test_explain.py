"""Explanations: what is cited lowers the item when it is taken away, and what cannot be explained is said so."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from functools import reduce

import numpy as np
import pytest

from llmrec.build import fit
from llmrec.config import Config
from llmrec.errors import ConfigError, DataError, TemplateError, UnknownIdError
from llmrec.fuse import ReciprocalRankFusion, RrfConfig
from llmrec.pipeline import Recommender
from llmrec.reasons import FixedCandidates
from llmrec.reasons import evidence as evidence_module
from llmrec.reasons.evidence import Evidence, Measured, Standing
from llmrec.reasons.explain import Asked, _One
from llmrec.testing.data import new_items, tiny_users
from llmrec.types import Csr, Item


def prepared(recommender, query):
    return reduce(lambda asked, policy: policy.prepare(asked), recommender.policies, query)


def places(ranking, row):
    return {int(item): place + 1 for place, item in enumerate(ranking.items[row]) if item >= 0}


@pytest.mark.parametrize("which", ["hybrid", "blend", "cascade"])
def test_the_same_query_ranks_its_candidates_as_recommend_does(request, which, queries):
    recommender = request.getfixturevalue(which)
    lists = recommender.recommend(queries, 12)
    for row in range(len(queries)):
        query = prepared(recommender, queries.take(np.array([row])))
        fixed = FixedCandidates.of(recommender.stages, query, recommender.catalog.tie_order)
        ranking = fixed.rank(query.take(np.zeros(3, np.int64)))
        for again in range(3):
            width = int((ranking.items[again] >= 0).sum())
            assert width >= 4
            np.testing.assert_array_equal(ranking.items[again, :width], lists.items[row, :width])
            np.testing.assert_array_equal(ranking.scores[again, :width], lists.scores[row, :width])


def test_a_later_stage_knows_the_scores_of_what_came_to_it_only(blend, cascade, queries):
    """Its own retriever proposes again what the stage before did not keep: no score of that stage is known of these."""
    first, second = cascade.stages
    popularity = replace(blend.stages[0].retrievers[0][0], name="popularity_again")
    fusion = ReciprocalRankFusion("f", RrfConfig(), {"hybrid": 1.0, "ease": 1.0, "popularity_again": 0.3})
    stages = (first, replace(second, retrievers=((popularity, 12),), fusion=fusion))
    recommender = replace(cascade, stages=stages)
    lists = recommender.recommend(queries, 7)
    for row, own in enumerate(recommender.explain(queries, k=7)):
        assert [one.item for one in own] == recommender.catalog.items.decode(lists.items[row])
        assert [one.rank for one in own] == list(range(1, 8))
        assert [one.score for one in own] == lists.scores[row].tolist()


def test_without_is_what_recommend_does_without_it(blend):
    """Everything is a candidate of so small a catalog: the plain way, with the item excluded, is the same."""
    history = ["i0", "i4", "i7"]
    (explained,) = blend.explain(blend.queries(histories=[history]), k=9, reasons=9)
    assert [one.rank for one in explained] == list(range(1, 10))
    seen = 0
    for one in explained:
        for reason in one.reasons:
            if reason.item is None:
                continue
            left = [item for item in history if item != reason.item]
            plain = blend.recommend(blend.queries(histories=[left], exclude=[[reason.item]]), 12)
            found = {r.item_id: r for r in blend.decode(plain)[0]}[one.item]
            assert (found.rank, np.float32(found.score)) == (reason.rank_without, np.float32(reason.score_without))
            assert reason.rank_without >= one.rank
            seen += 1
    assert seen >= 9


def test_reasons_are_in_order_and_shares_are_parts(blend, queries):
    for own in blend.explain(queries, k=5, reasons=2):
        for one in own:
            shares = [r.share for r in one.reasons if r.kind in ("history", "wish", "profile")]
            assert shares == sorted(shares, reverse=True)
            assert sum(shares) <= 1 + 1e-9
            assert len(one.reasons) <= 2
            assert one.sentence.endswith(".")
            assert not one.phrased
            with pytest.raises(FrozenInstanceError):
                one.rank = 0


@pytest.mark.parametrize("which", ["blend", "cascade"])
def test_an_explanation_is_the_same_alone_and_among_others(request, which, queries):
    recommender = request.getfixturevalue(which)
    together = recommender.explain(queries, k=6)
    ids = [[one.item for one in own] for own in together]
    assert recommender.explain(queries, ids) == together
    for row in range(len(queries)):
        query = queries.take(np.array([row]))
        alone = [recommender.explain(query, [[item]])[0][0] for item in ids[row]]
        assert alone == together[row]


def test_a_cascade_explains_what_no_stage_kept(cascade):
    """Its last stage ranks four of the candidates; the others stand below, in the order of the first stage."""
    queries = cascade.queries(histories=[["i0", "i1", "i2"]])
    ranked = cascade.decode(cascade.recommend(queries, 9))[0]
    (explained,) = cascade.explain(queries, k=9)
    assert [(one.item, one.rank, np.float32(one.score)) for one in explained] == [
        (r.item_id, r.rank, np.float32(r.score)) for r in ranked
    ]


def test_long_histories_are_looked_at_closely_where_they_matter(cascade, monkeypatch):
    queries = cascade.queries(histories=[["i0", "i1", "i2", "i3", "i4", "i5"]])
    every = cascade.explain(queries, k=4, reasons=9)
    monkeypatch.setattr(evidence_module, "CLOSELY", 2)
    few = cascade.explain(queries, k=4, reasons=9)
    alone = [cascade.explain(queries, [[one.item]], reasons=9)[0][0] for one in few[0]]
    assert alone == few[0]
    for more, less in zip(every[0], few[0], strict=True):
        measured = {r.item: r.rank_without for r in more.reasons}
        assert len([r for r in less.reasons if r.item]) <= 2
        assert all(measured.get(r.item, r.rank_without) == r.rank_without for r in less.reasons if r.item)


def test_only_the_newest_of_a_history_are_looked_at(toy, monkeypatch):
    queries = toy.queries(histories=[["f4", "f5", "f6"]])
    assert toy.explain(queries, [["f3"]])[0][0].reasons[0].item == "f4"
    monkeypatch.setattr(evidence_module, "NEWEST", 2)
    assert "f4" not in {reason.item for reason in toy.explain(queries, [["f3"]])[0][0].reasons}


def test_what_decides_is_cited(toy):
    ((one,),) = toy.explain(toy.queries(histories=[["f5", "f4"]]), [["f3"]])
    assert one.rank == 1
    assert [(reason.kind, reason.item) for reason in one.reasons] == [("history", "f4")]
    assert one.sentence == "We recommend “Godfather, The (1972)” because you chose “霸王别姬”."


def test_where_either_of_two_will_do_it_is_the_history_as_a_whole(toy):
    ((one,),) = toy.explain(toy.queries(histories=[["f0", "f1"]]), [["f2"]])
    (reason,) = one.reasons
    assert (reason.kind, reason.item, reason.share) == ("history", None, 1.0)
    assert reason.rank_without > one.rank
    assert "no single choice" in one.sentence


@pytest.mark.parametrize("count", [1, 2])
def test_no_more_reasons_than_were_asked_for(toy, monkeypatch, count):
    query, fixed = toy.queries(histories=[["f4", "f5"]]), None
    stands = Standing(1, 1.0, 0.0, 5)
    evidence = tuple(Evidence("history", item, "", replace(stands, rank=2, depth=1.0)) for item in (4, 5))
    one = _One(toy, query, Asked(reasons=count))
    monkeypatch.setattr(_One, "_is_popular", lambda *_: True)
    found = one._reasons(fixed, 3, Measured(stands, stands, stands, evidence))
    assert [reason.kind for reason in found] == ["history"] * count
    more = replace(one, asked=Asked(reasons=3))._reasons(fixed, 3, Measured(stands, stands, stands, evidence))
    assert [reason.kind for reason in more] == ["history", "history", "popular"]


def test_a_history_as_a_whole_is_taken_away_without_the_wish(hybrid):
    """What is left then is the same wish of somebody without a history."""
    query = prepared(hybrid, hybrid.queries(wishes=["red night"], histories=[["i0", "i1"]]))
    fixed = FixedCandidates.of(hybrid.stages, query, hybrid.catalog.tie_order)
    items = [item for item in range(2, 12) if item in fixed]
    wish, nobody = query.where(np.zeros(2, np.bool_)), query.where(np.zeros(2, np.bool_))
    nobody = replace(nobody, texts=[None])
    alone, nothing = fixed.rank(wish), fixed.rank(nobody)
    for item, found in zip(items, evidence_module.measure(fixed, query, items), strict=True):
        assert found.without_history == evidence_module.standings(alone, item)[0]
        assert found.nothing == evidence_module.standings(nothing, item)[0]
    plain = evidence_module.measure(fixed, replace(query, texts=None), items)
    assert all(found.without_history == found.nothing for found in plain)
    assert any(one.without_history != one.nothing for one in evidence_module.measure(fixed, query, items))


def test_what_the_wish_holds_up_is_not_the_history(toy):
    """Nothing falls without the history, for the wish keeps it; it falls without both alone."""
    one = _One(toy, toy.queries(histories=[["f4", "f5"]]), Asked())
    base, low = Standing(1, 1.0, 0.0, 5), Standing(4, 0.1, 2.0, 5)
    assert one._reasons(None, 3, Measured(base, low, base, ())) == []
    (reason,) = one._reasons(None, 3, Measured(base, low, replace(low, rank=3), ()))
    assert (reason.kind, reason.item, reason.rank_without) == ("history", None, 3)


def test_a_repeated_item_is_taken_away_altogether(toy):
    ((one,),) = toy.explain(toy.queries(histories=[["f4", "f5", "f4"]]), [["f3"]])
    assert one.reasons[0].item == "f4"
    assert one.reasons[0].rank_without > 1


def test_a_history_of_one_item(toy):
    ((one,),) = toy.explain(toy.queries(histories=[["f4"]]))
    assert [(reason.kind, reason.item) for reason in one.reasons] == [("history", "f4")]


def test_nothing_known_is_said_honestly(toy, hybrid):
    ((one, *_),) = toy.explain(toy.queries(histories=[[]]), k=3)
    assert [reason.kind for reason in one.reasons] == ["popular"]
    assert one.reasons[0].rank_without == one.rank == 1
    assert (
        one.sentence
        == "We recommend “Up” because it is popular with everybody; nothing that is known of you decides it."
    )
    assert hybrid.explain(hybrid.queries(histories=[[]]))[0][0].reasons[0].kind == "popular"


def test_what_is_seldom_taken_is_not_called_popular(films, alike, recommender_of):
    """With nothing known and next to no popularity, ties decide; that is no praise for what they put first."""
    toy = recommender_of(films, alike, [3, 3, 3, 3, 3, 3, 3, 1])
    ((one,),) = toy.explain(toy.queries(histories=[[]]), [["f7"]])
    assert one.reasons == ()
    assert one.sentence == "We recommend “Up”; nothing that is known of you decides it alone."


def test_a_fallback_that_knows_nothing_of_nobody_praises_nothing(toy):
    """A retriever of likenesses has no score where there is no history."""
    like = toy.stages[0].retrievers[1][0]
    ((one,),) = replace(toy, fallback=like).explain(toy.queries(histories=[[]]))
    assert one.reasons == ()


def test_a_wish(hybrid):
    queries = hybrid.queries(wishes=["red night", None], histories=[[], ["i0"]])
    first, second = hybrid.explain(queries, k=4)
    assert any(reason.kind == "wish" for one in first for reason in one.reasons)
    assert not any(reason.kind == "wish" for one in second for reason in one.reasons)
    cited = next(one for one in first if one.reasons[0].kind == "wish")
    assert "what you asked for" in cited.sentence
    assert "red night" not in cited.sentence.split("because", 1)[1]


def test_profiles(bert, catalog, interactions, hybrid_config):
    values = hybrid_config.model_dump(mode="json")
    values["stages"][0]["retrievers"]["dense"]["user_template"] = "user/profile"
    recommender = fit(Config.from_dict(values), catalog, interactions, users=tiny_users())
    found = recommender.explain(recommender.queries(["u1", "u2", "u3", "u5"]), k=8, reasons=9)
    kinds = {(reason.kind, reason.field) for own in found for one in own for reason in one.reasons}
    assert ("profile", "age") in kinds or ("profile", "occupation") in kinds


def test_fields_of_the_item(hybrid_config, catalog, interactions):
    values = hybrid_config.model_dump(mode="json")
    values["stages"][0]["retrievers"]["dense"]["item_template"] = "item/genres"
    recommender = fit(Config.from_dict(values), catalog, interactions)
    queries = recommender.queries(histories=[["i0", "i1"]])
    (found,) = recommender.explain(queries, k=10, fields=["genres"], reasons=9)
    cited = {one.item: r for one in found for r in one.reasons if r.kind == "field"}
    assert cited
    assert "i9" not in cited  # it has no genres
    assert "because of its genres" in next(one.sentence for one in found if one.item in cited)
    fixed = FixedCandidates.of(recommender.stages, prepared(recommender, queries), catalog.tie_order)
    for item, reason in cited.items():
        changed = recommender.change_items([Item(item, {"genres": None})])
        assert (
            places(fixed.rank(prepared(recommender, queries), changed.stages), 0)[int(catalog.items.rows([item])[0])]
            == reason.rank_without
        )
    with pytest.raises(TemplateError, match="field 'title' cannot be taken away"):
        recommender.explain(queries, fields=["title"])
    with pytest.raises(ConfigError, match="no field 'zoo'; the catalog has title, year, genres"):
        recommender.explain(queries, fields=["zoo"])


def test_what_a_rule_puts_there(pinned):
    ((one,),) = pinned.explain(pinned.queries(histories=[["f4"]]))
    assert one.item == "f6"
    assert [reason.kind for reason in one.reasons] == ["rule"]
    assert "by a rule" in one.sentence


def test_an_item_that_nobody_proposed_stands_among_the_candidates(hybrid):
    (stage,) = hybrid.stages
    shallow = replace(hybrid, stages=(replace(stage, retrievers=tuple((r, 1) for r, _ in stage.retrievers)),))
    queries = shallow.queries(histories=[["i0", "i1"]])
    fixed = FixedCandidates.of(shallow.stages, prepared(shallow, queries), shallow.catalog.tie_order)
    absent = next(row for row in range(2, 12) if row not in fixed)
    assert absent in fixed.with_item(absent)
    item = shallow.catalog.items[absent]
    first = shallow.recommend(queries, 1)
    ((one, best),) = shallow.explain(queries, [[item, shallow.catalog.items[int(first.items[0, 0])]]])
    assert one.candidates == best.candidates + 1
    assert best.rank == 1
    assert shallow.explain(queries, [[item]])[0][0] == one


def test_repeats_may_be_explained_where_they_are_allowed(hybrid):
    repeats = replace(hybrid, policies=())
    ((one,),) = repeats.explain(repeats.queries(histories=[["i0", "i1"]]), [["i0"]])
    assert one.item == "i0"


def test_requests_that_cannot_be_answered(hybrid):
    queries = hybrid.queries(histories=[["i0", "i1"]])
    wrong = {
        "is in the history, or excluded": (queries, [["i0"]]),
        "'i5' cannot be recommended in answer to query 0: it is in": (
            replace(queries, exclude=Csr.from_lists([[5]])),
            [["i5"]],
        ),
        "not among the items that the request": (hybrid.queries(histories=[[]], allow=["i3"]), [["i4"]]),
        "one list of ids per query: 2 lists for 1": (queries, [["i3"], ["i4"]]),
        "must be a list of lists of ids": (queries, "i3"),
        r"items\[0\] must be a list of ids, got one string": (queries, ["i3"]),
    }
    for message, (asked, items) in wrong.items():
        with pytest.raises(DataError, match=message):
            hybrid.explain(asked, items)
    with pytest.raises(UnknownIdError, match="nowhere"):
        hybrid.explain(queries, [["nowhere"]])
    with pytest.raises(DataError, match="was removed from the catalog"):
        hybrid.remove_items(["i3"]).explain(queries, [["i3"]])
    with pytest.raises(ConfigError, match="k must be at least 1"):
        hybrid.explain(queries, k=0)
    with pytest.raises(ConfigError, match="reasons must be at least 1"):
        hybrid.explain(queries, reasons=0)
    with pytest.raises(ConfigError, match="of kind 'user'; reasons need one of kind 'explain'"):
        hybrid.explain(queries, template="user/recent")


def test_no_query_and_no_item(hybrid):
    assert hybrid.explain(hybrid.queries(histories=[]), []) == []
    assert hybrid.explain(hybrid.queries(histories=[["i0"]]), [[]]) == [[]]


def test_after_saving_and_with_new_items(hybrid, tmp_path):
    grown = hybrid.add_items(new_items(2))
    queries = grown.queries(histories=[["i0", "i1", "new0"]])
    found = grown.explain(queries, [["new1", "i5"]])
    assert [one.item for one in found[0]] == ["new1", "i5"]
    loaded = Recommender.load(grown.save(tmp_path / "bundle"))
    assert loaded.explain(queries, [["new1", "i5"]]) == found
