import math
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from llmrec.component import FitContext
from llmrec.errors import ConfigError
from llmrec.policy import DiversityConfig
from llmrec.policy.diversity import COMPONENT, Diversity
from llmrec.types import Item, Queries, Ranking


class Fixed:
    """Likeness by given vectors."""

    def __init__(self, vectors):
        self.known = vectors

    def vectors(self, items):
        return self.known[items]


def by_hand(vectors, n, k, strength):
    """Maximal marginal relevance in plain Python."""
    relevance = [1 / math.log2(place + 2) for place in range(n)]
    alike = np.clip(vectors @ vectors.T, 0, 1)
    chosen = [0]
    while len(chosen) < min(k, n):
        gains = {
            i: (1 - strength) * relevance[i] - strength * max(float(alike[i, j]) for j in chosen)
            for i in range(n)
            if i not in chosen
        }
        chosen.append(max(gains, key=lambda i: (round(gains[i], 5), -i)))
    return chosen


@given(st.integers(0, 500), st.integers(1, 9), st.integers(1, 9), st.sampled_from([0.0, 0.3, 0.7, 1.0]))
@settings(max_examples=80, deadline=None)
def test_it_is_maximal_marginal_relevance(seed, n, k, strength):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    policy = Diversity("d", DiversityConfig(strength=strength, candidates_per_place=100), Fixed(vectors))
    ranking = Ranking(np.arange(n, dtype=np.int32)[None], -np.arange(n, dtype=np.float32)[None])
    found = policy.apply(Queries.from_lists([[]]), ranking, k).items[0].tolist()
    assert found == by_hand(vectors, n, k, strength)


def test_alike_items_make_room(fitted, plain, listed):
    lists = listed([0, 1, 3, 8, 7, 6, 9, 11])
    strong = fitted("diversity", fields=["kind"], strength=0.6)
    assert strong.apply(plain(), lists, 4).items.tolist() == [[0, 7, 6, 11]]
    none = fitted("diversity", fields=["kind"], strength=0.0)
    assert none.apply(plain(), lists, 4).items.tolist() == [[0, 1, 3, 8]]
    near = fitted("diversity", fields=["kind"], strength=0.6, candidates_per_place=1)
    assert sorted(near.apply(plain(), lists, 4).items[0].tolist()) == [0, 1, 3, 8]


def test_only_the_order_of_the_scores_matters(fitted, plain, listed):
    policy = fitted("diversity", fields=["kind"], strength=0.4)
    lists = listed([0, 1, 3, 8, 7, 6, 9, 11])
    level = Ranking(lists.items, np.full_like(lists.scores, -1.0))
    assert policy.apply(plain(), lists, 5).items.tolist() == policy.apply(plain(), level, 5).items.tolist()


def test_what_is_not_looked_at_follows_in_its_order(fitted, plain, listed, monkeypatch):
    monkeypatch.setattr("llmrec.policy.diversity.PLACES", 2)
    policy = fitted("diversity", fields=["kind"], strength=0.6, candidates_per_place=2)
    lists = listed([0, 1, 3, 7, 6, 9, 11, 8])
    assert policy.apply(plain(), lists, 8).items.tolist() == [[0, 7, 1, 3, 6, 9, 11, 8]]


def test_likeness_by_fields(fitted, shelves):
    likeness = fitted("diversity", fields=["kind"], separator="|").likeness
    vectors = likeness.vectors(np.int32([0, 1, 2, 4, 5, 10]))
    alike = vectors @ vectors.T
    half = 1 / np.sqrt(2)
    np.testing.assert_allclose(alike[0], [1, 1, half, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(alike[2], [half, half, 1, half, 0, 0.5], atol=1e-6)
    np.testing.assert_array_equal(alike[4], 0)  # no value: unlike everything
    both = fitted("diversity", fields=["kind", "in_stock"]).likeness.vectors(np.int32([0, 1, 3, 4]))
    np.testing.assert_allclose((both @ both.T)[0], [1, 1, 0.5, 0.5], atol=1e-6)
    several = fitted("diversity", fields=["kind", "in_stock"], separator="|").likeness.vectors(np.int32([0, 2, 10]))
    np.testing.assert_allclose((several @ several.T)[0], [1, (half + 1) / 2, 0.5], atol=1e-6)


def test_likeness_by_texts(bert, catalog):
    config = DiversityConfig(encoder=str(bert), item_template="item/title", strength=0.5)
    policy = COMPONENT.fit(FitContext("d", catalog, None), config)
    embeddings = policy.likeness.embeddings
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-5)
    grown = catalog.with_items([Item("n", {"title": "blue zoo"})]).with_changes([Item("i2", {"title": "blue zoo"})])
    before = policy.likeness.encoder.encoded
    later = policy.with_items(grown, np.int32([2])).likeness
    assert later.encoder.encoded - before == 1  # one text, although two items have it
    np.testing.assert_array_equal(later.embeddings[2], later.embeddings[12])
    np.testing.assert_array_equal(np.delete(later.embeddings[:12], 2, 0), np.delete(embeddings, 2, 0))
    assert not np.allclose(later.embeddings[2], embeddings[2])


def test_wrong_settings(fitted):
    with pytest.raises(ConfigError, match="no field 'kinds'"):
        fitted("diversity", fields=["kinds"])
    with pytest.raises(ConfigError, match="names a field twice"):
        fitted("diversity", fields=["kind", "kind"])


def test_more_strength_means_less_alike_lists(hybrid, interactions, catalog):
    queries = interactions.queries(np.arange(interactions.n_users))
    found = []
    for strength in (0.0, 0.5, 1.0):
        config = DiversityConfig(fields=("genres",), separator=" ", strength=strength)
        policy = COMPONENT.fit(FitContext("d", catalog, None), config)
        lists = replace(hybrid, policies=(policy,)).recommend(queries, 4).items
        vectors = policy.likeness.vectors(np.arange(12, dtype=np.int32))
        alike = [(vectors[row] @ vectors[row].T)[np.triu_indices(4, 1)].mean() for row in lists]
        found.append(float(np.mean(alike)))
    assert found[0] > found[1] > found[2] - 1e-6
    assert found[0] - found[2] > 0.1


def test_no_more_is_looked_at_than_can_be_chosen(fitted):
    policy = fitted("diversity", fields=["kind"], candidates_per_place=5)
    assert [policy.depth(k) for k in (1, 50, 51, 250, 400)] == [5, 250, 250, 250, 400]
