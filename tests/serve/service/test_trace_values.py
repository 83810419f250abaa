"""Traces as values: who dropped an item, where it came in, what filled the list up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmrec.policy.caps import Caps, CapsConfig
from llmrec.policy.fields import FieldValues
from llmrec.serve.service._trace import Wanted, traced

WANTED = Wanted("default", "b", 4, 50)


@pytest.fixture(scope="module")
def capped(hybrid):
    """The tiny recommender, at most one item of each genre in a list."""
    values = FieldValues.read(hybrid.catalog, "genres", None, "caps")
    limits = np.ones(len(values.codes), dtype=np.int64)
    policy = Caps("one_a_genre", CapsConfig(field="genres", at_most=1), values, limits, hybrid.catalog.active)
    return replace(hybrid, policies=(policy,))


@pytest.mark.parametrize("k", [4, 5, 6, 8, 12])
def test_who_dropped_an_item_is_told(capped, k):
    queries = capped.queries(histories=[["i0"]])
    shown = traced(capped, queries, replace(WANTED, k=k))
    plain = traced(replace(capped, policies=()), queries, replace(WANTED, k=k))
    listed = [one.item_id for one in shown.final]
    (stage,) = shown.stages
    ranks = {one.item_id: one.rank for one in stage.candidates}
    dropped = {one.item_id for one in stage.candidates if one.dropped_by == "one_a_genre"}
    assert {one.item_id for one in plain.final} - set(listed) <= dropped
    assert not dropped & set(listed)
    lowest = max(ranks[item] for item in listed) if len(listed) == k else len(ranks)
    assert dropped == {item for item, rank in ranks.items() if rank <= lowest} - set(listed)
    assert dropped or k < 8
    assert {one.dropped_by for one in plain.stages[0].candidates} == {None}


def test_stages_tell_where_items_came_in(cascade):
    queries = cascade.queries(histories=[["i0", "i3"]], wishes=["night"])
    shown = traced(cascade, queries, WANTED)
    first, second = shown.stages
    kept = [one.item_id for one in first.candidates if one.kept]
    assert len(kept) == first.kept == 4
    assert [one.came_in for one in sorted(second.candidates, key=lambda one: one.came_in)] == [1, 2, 3, 4]
    assert {one.item_id for one in second.candidates} == set(kept)
    by_rank = {one.item_id: one.rank for one in first.candidates}
    assert all(one.came_in == by_rank[one.item_id] for one in second.candidates)
    assert second.columns[-1] == "rerank"
    (final,) = cascade.decode(cascade.recommend(queries, 4))
    assert [one.item_id for one in shown.final] == [one.item_id for one in final]
    assert shown.history == ("i0", "i3")


def test_what_filled_the_list_up_is_told(hybrid):
    stage = hybrid.stages[0]
    narrow = replace(stage, retrievers=tuple((retriever, 1) for retriever, _ in stage.retrievers), keep=1)
    shown = traced(replace(hybrid, stages=(narrow,)), hybrid.queries(histories=[["i0"]]), replace(WANTED, k=8))
    proposed = {one.item_id for one in shown.stages[0].candidates}
    assert set(shown.from_fallback) == {one.item_id for one in shown.final} - proposed != set()


def test_candidates_are_bounded_and_excluded_ones_counted(hybrid):
    queries = hybrid.queries(histories=[["i0"]], exclude=[["i1", "i2"]])
    shown = traced(hybrid, queries, replace(WANTED, candidates=2))
    assert len(shown.stages[0].candidates) == 2 < shown.stages[0].found
    assert shown.excluded == 3  # what was taken already is excluded, too
