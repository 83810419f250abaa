"""Pairwise reranking: both orders count alike, and ratings are those of the pairs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.rerank.aliases import seeded
from llmrec.rerank.pairwise import COMPONENT, PairwiseConfig, _rated, compared, ratings
from llmrec.types import Queries

QUERIES = Queries.from_lists([[0, 1], [], [2], []], [None, None, None, "something with robots"])
ITEMS = np.array([[3, 4, 5, 6, 7], [0, 1, 2, 3, -1], [9, 0, 1, -1, -1], [5, -1, -1, -1, -1]], np.int32)


def pairwise(folder, context, **settings):
    config = {"model": str(folder), "max_tokens": 500, "item_tokens": 24, **settings}
    return COMPONENT.fit(context, PairwiseConfig.model_validate(config))


def preferring(scorer, monkeypatch, value, first=0.0, alias=0.0):
    """Let the model prefer by `value` of a title, the first place by `first`, and one alias, whichever, by `alias`."""

    def log_likelihood(prompts, continuations):
        found = []
        for prompt, answers in zip(prompts, continuations, strict=True):
            text = scorer.reader.model.tokens.read(prompt)
            titles = {line[1:3]: line[5:] for line in text.splitlines() if line.startswith("[")}
            ahead = next(iter(titles))
            found.append(
                np.array(
                    [value(titles[a]) + first * (a == ahead) + alias * (a == min(answers)) for a in answers], np.float32
                )
            )
        return found

    monkeypatch.setattr(scorer.reader.model, "log_likelihood", log_likelihood)


def test_what_is_compared_has_a_score(folder, context):
    scores = pairwise(folder, context, depth=4).score(QUERIES, ITEMS)
    assert np.isfinite(scores[0, :4]).all()
    assert np.isnan(scores[0, 4])
    assert np.isnan(scores[1]).all(), "nothing is known of them"
    assert np.isfinite(scores[2, :3]).all()
    assert np.isnan(scores[3]).all(), "nothing to compare with"
    assert scores[2, :3].sum() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(("first", "alias"), [(0, 0), (50, 0), (0, 50), (7, -9)])
def test_neither_places_nor_aliases_count(folder, context, monkeypatch, first, alias):
    scorer = pairwise(folder, context)
    preferring(scorer, monkeypatch, len, first, alias)
    scores = scorer.score(QUERIES, ITEMS)
    titles = context.catalog.table["title"].to_pylist()
    lengths = np.array([len(titles[item]) for item in ITEMS[0]])
    np.testing.assert_allclose(scores[0], lengths - lengths.mean(), atol=1e-4)


def test_few_opponents_are_enough_where_all_agree(folder, context, monkeypatch):
    scorer = pairwise(folder, context, opponents=2)
    preferring(scorer, monkeypatch, len)
    few = scorer.score(QUERIES, ITEMS)
    every = pairwise(folder, context)
    preferring(every, monkeypatch, len)
    np.testing.assert_allclose(few, every.score(QUERIES, ITEMS), atol=1e-4)


def test_a_query_is_answered_the_same_alone_and_in_a_batch(folder, context):
    scorer = pairwise(folder, context, opponents=2)
    together = scorer.score(QUERIES, ITEMS)
    for row in range(len(QUERIES)):
        alone = scorer.score(QUERIES.take(np.array([row])), ITEMS[row : row + 1])
        np.testing.assert_array_equal(alone[0], together[row])


def test_what_pairs_have_in_common_is_read_once(folder, context):
    scorer = pairwise(folder, context)
    scorer.score(QUERIES.take(np.array([0])), ITEMS[:1])
    usage = scorer.reader.model.usage
    assert usage.read < 0.25 * usage.prompts


def test_an_example_names_what_was_taken(folder, context):
    scorer = pairwise(folder, context, shots=3, max_tokens=1500)
    histories = {tuple(row.tolist()) for row in map(context.train.histories.__getitem__, range(9))}
    titles = context.catalog.table["title"].to_pylist()
    for asked, answer in scorer.reader.shots:
        taken = next(line[5:] for line in asked.splitlines() if line.startswith(f"[{answer}]"))
        assert any(titles[row[-1]] == taken for row in histories if len(row) > 1)


@given(st.integers(2, 20), st.integers(2, 25), st.integers(0, 99))
def test_everybody_meets_as_often_and_nobody_is_apart(count, opponents, seed):
    pairs = compared(count, opponents, seeded(seed))
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert len(np.unique(pairs, axis=0)) == len(pairs)
    met = np.bincount(pairs.ravel(), minlength=count)
    assert len(set(met.tolist())) == 1
    assert min(opponents, count - 1) <= met[0] <= opponents + 1
    strengths = np.random.default_rng(seed).normal(size=count)
    odds = strengths[pairs[:, 0]] - strengths[pairs[:, 1]]
    np.testing.assert_allclose(ratings(count, pairs, odds), strengths - strengths.mean(), atol=1e-8)


def test_who_meets_nobody_has_no_rating():
    pairs, odds = compared(4, 4, seeded(0)), np.array([1.0, 2.0, np.nan, 1.0, np.nan, np.inf])
    np.testing.assert_allclose(_rated(4, pairs, odds), [1, 0, -1, np.nan], atol=1e-12)
    assert np.isnan(_rated(2, compared(2, 2, seeded(0)), np.array([np.nan]))).all()


@given(st.integers(2, 8), st.integers(0, 99))
def test_where_all_meet_all_a_rating_is_a_mean(count, seed):
    pairs = compared(count, count, seeded(seed))
    odds = np.random.default_rng(seed).normal(size=len(pairs))
    table = np.zeros((count, count))
    table[pairs[:, 0], pairs[:, 1]], table[pairs[:, 1], pairs[:, 0]] = odds, -odds
    np.testing.assert_allclose(ratings(count, pairs, odds), table.mean(axis=1), atol=1e-8)
