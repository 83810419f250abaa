"""How many targets are among the candidates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmrec.build import fit
from llmrec.config import Config
from llmrec.data import leave_last_out
from llmrec.errors import DataError
from llmrec.evaluate import CandidateRecall, candidate_recall, ceiling, ceiling_rows

STAGE = {"name": "hybrid", "keep": 2, "retrievers": {"popularity": {"depth": 3}, "ease": {"depth": 2, "l2": 5.0}}}


@pytest.fixture(scope="module")
def held(catalog, interactions):
    recommender = fit(Config.from_dict({"stages": [STAGE]}), catalog, interactions, holdout="last")
    return recommender, leave_last_out(interactions).test


def test_it_counts_targets(held, monkeypatch):
    recommender, holdout = held
    monkeypatch.setattr(ceiling, "_BATCH", 7)
    (found,) = candidate_recall(recommender, holdout, k=3)
    popularity, ease = (retriever for retriever, _ in recommender.stages[0].retrievers)
    queries = recommender.policies[0].prepare(holdout.queries)
    lists = zip(popularity.retrieve(queries, 3).items.tolist(), ease.retrieve(queries, 2).items.tolist(), strict=True)
    unions = [(set(a) | set(b)) - {-1} for a, b in lists]
    hits = [target in union for target, union in zip(holdout.targets.tolist(), unions, strict=True)]
    assert 0 < sum(hits) < len(hits)
    assert found.union == pytest.approx(np.mean(hits))
    assert found.candidates == pytest.approx(np.mean([len(union) for union in unions]))
    fused = recommender.recommend(holdout.queries, 3).items == holdout.targets[:, None]
    assert (found.stage, found.k) == ("hybrid", 3)
    assert found.kept == pytest.approx(fused[:, :2].any(axis=1).mean())
    assert found.kept <= found.fused <= found.union


def test_stages_that_only_rerank_are_not_run(held, cascade):
    recommender, holdout = held
    again = replace(recommender, stages=(*recommender.stages, cascade.stages[1]))
    broken = replace(again.stages[1], scorers=(None,))
    found = candidate_recall(replace(again, stages=(again.stages[0], broken)), holdout)
    assert found == candidate_recall(recommender, holdout)


def test_rows_and_values_come_back():
    one = CandidateRecall("hybrid", 40.5, 0.5, 100, 0.45, 0.25)
    assert CandidateRecall.from_dict(one.to_dict()) == one
    assert ceiling_rows([one]) == [
        ("stage", "candidates", "Recall of all", "Recall@100, fused", "Recall of kept"),
        ("hybrid", "40.5", "0.5000", "0.4500", "0.2500"),
    ]
    with pytest.raises(DataError, match="evaluate again"):
        CandidateRecall.from_dict({"stage": "hybrid"})


def test_nobody_to_look_for_is_an_error(held):
    recommender, holdout = held
    nobody = np.empty(0, np.int64)
    empty = replace(holdout, user_rows=nobody, queries=holdout.queries.take(nobody), targets=holdout.targets[:0])
    with pytest.raises(DataError, match="no user"):
        candidate_recall(recommender, empty)
