"""Explanations hold with any retriever: a query ranks as `recommend` does, and what is cited lowers the item."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.fuse import ReciprocalRankFusion, RrfConfig
from llmrec.pipeline import Recommender
from llmrec.policy import Seen
from llmrec.reasons import FixedCandidates
from llmrec.retrieve import fit_popularity
from llmrec.stage import Stage


@pytest.fixture(scope="module")
def with_only(catalog, interactions):
    """A recommender of one retriever, beside popularity."""

    def make(retriever):
        popularity = fit_popularity(interactions, catalog)
        own = () if retriever.name == popularity.name else ((retriever, 12),)
        fusion = ReciprocalRankFusion("fusion", RrfConfig(), {retriever.name: 1.0, popularity.name: 0.1})
        stage = Stage("one", ((popularity, 12), *own), (), fusion, 12)
        return Recommender(catalog, (stage,), (Seen(),), popularity)

    return make


def test_explanations_of_any_retriever(retriever, with_only, queries):
    recommender = with_only(retriever)
    lists = recommender.decode(recommender.recommend(queries, 5))
    found = recommender.explain(queries, k=5, reasons=9)
    for row, (listed, own) in enumerate(zip(lists, found, strict=True)):
        query = queries.take(np.array([row]))
        assert [(one.item, one.rank, one.score) for one in own] == [(r.item_id, r.rank, r.score) for r in listed]
        history = set(recommender.catalog.items.decode(query.items))
        for one in own:
            assert {reason.item for reason in one.reasons} - {None} <= history - {one.item}
            lowered = [reason for reason in one.reasons if reason.kind != "popular"]
            assert all(reason.rank_without >= one.rank for reason in lowered)
        assert recommender.explain(query, k=5, reasons=9) == [own]


def test_what_is_cited_is_what_the_cascade_says_without_it(retriever, with_only, queries):
    recommender = with_only(retriever)
    for row in (1, 3):
        query = recommender.policies[0].prepare(queries.take(np.array([row])))
        fixed = FixedCandidates.of(recommender.stages, query, recommender.catalog.tie_order)
        ((one,),) = recommender.explain(queries.take(np.array([row])), reasons=9)
        for reason in one.reasons:
            if reason.item is None:
                continue
            gone, item = (int(recommender.catalog.items.rows([i])[0]) for i in (reason.item, one.item))
            alone = fixed.rank(query.where(query.items != gone))
            place = int((alone.items[0] == item).argmax())
            assert (place + 1, float(alone.scores[0, place])) == (reason.rank_without, reason.score_without)
