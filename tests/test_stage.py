"""A stage that reads queries once, against asking every retriever twice."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from llmrec.pipeline import Recommender
from llmrec.retrieve import EaseConfig, EraConfig, TransitionConfig, fit_ease, fit_era, fit_popularity, fit_transition
from llmrec.retrieve.base import Retriever
from llmrec.retrieve.merge import merge_candidates
from llmrec.retrieve.reading import AllScores
from llmrec.stage import score_candidates
from llmrec.testing.data import tiny_catalog, tiny_interactions
from llmrec.types import Candidates, Queries, Ranking


@dataclass
class Plain:
    """A retriever as somebody else writes one: it can be asked, and counts how often."""

    inner: Retriever
    asked: int = 0

    @property
    def name(self):
        return self.inner.name

    def retrieve(self, queries, k):
        self.asked += 1
        return self.inner.retrieve(queries, k)

    def score(self, queries, items):
        self.asked += 1
        return self.inner.score(queries, items)


@dataclass
class Counting:
    """A retriever that reads once, and counts for how many queries it has scored the catalog."""

    inner: Retriever
    scored: int = 0

    @property
    def name(self):
        return self.inner.name

    def retrieve(self, queries, k):
        raise AssertionError("what it has read says it")

    score = retrieve

    def read(self, queries):
        def score_all(part):
            self.scored += len(part)
            return self.inner._all(part)

        return AllScores.of(score_all, queries, self.inner.active, self.inner.tie_order)


@pytest.fixture
def log():
    return tiny_interactions(seed=3, catalog=tiny_catalog(60), n_users=40)


@pytest.fixture
def retrievers(log):
    catalog = tiny_catalog(60)
    return [
        (fit_popularity(log, catalog), 4),
        (fit_ease(log, catalog, EaseConfig(l2=5)), 7),
        (Plain(fit_transition(log, catalog, TransitionConfig())), 5),
        (fit_era(log, catalog, EraConfig()), 3),
    ]


def plain(retrievers, queries, incoming):
    lists = {r.name: r.retrieve(queries, depth).items for r, depth in retrievers}
    candidates = merge_candidates(lists, len(queries), incoming)
    for retriever, _ in retrievers:
        candidates = candidates.with_column(retriever.name, retriever.score(queries, candidates.items))
    return candidates


def same(found, expected):
    width = expected.items.shape[1]
    assert list(found.columns) == list(expected.columns)
    assert set(found.source_ranks) == set(expected.source_ranks)
    np.testing.assert_array_equal(found.items[:, :width], expected.items)
    assert (found.items[:, width:] == -1).all()
    for name in expected.columns:
        np.testing.assert_array_equal(found.columns[name][:, :width], expected.columns[name])
    for name in expected.source_ranks:
        np.testing.assert_array_equal(found.source_ranks[name][:, :width], expected.source_ranks[name])


@pytest.mark.parametrize("threads", ["1", "3"])
@pytest.mark.parametrize("cells", [1, 300, 2_000_000])  # a query at a time, a few, all
def test_columns_are_those_of_asking_twice(retrievers, log, monkeypatch, threads, cells):
    monkeypatch.setenv("LLMREC_THREADS", threads)
    monkeypatch.setattr("llmrec.retrieve.reading.THREAD_CELLS", cells)
    queries = log.queries(np.arange(log.n_users))
    queries = replace(queries, exclude=queries.histories)
    same(score_candidates(retrievers, [], queries), plain(retrievers, queries, None))
    incoming = replace(plain(retrievers[:1], queries, None), columns={"before": np.ones((40, 4), np.float32)})
    same(score_candidates(retrievers[1:], [], queries, incoming), plain(retrievers[1:], queries, incoming))


def test_the_catalog_is_scored_once_a_query_and_others_are_asked_once(retrievers, log, monkeypatch):
    monkeypatch.setattr("llmrec.retrieve.reading.THREAD_CELLS", 300)
    counting, other = Counting(retrievers[1][0]), retrievers[2][0]
    queries = log.queries(np.arange(log.n_users))
    score_candidates([(counting, 7), (other, 5)], [], queries)
    assert counting.scored == len(queries)
    assert other.asked == 2  # once to propose, once to score, for all queries


def test_no_queries_have_no_candidates(retrievers, log):
    found = score_candidates(retrievers, [], log.queries(np.empty(0, np.int64)))
    assert found.items.shape == (0, 0)
    assert list(found.columns) == [r.name for r, _ in retrievers]


def test_lists_are_the_same_on_any_number_of_threads(hybrid: Recommender, queries, monkeypatch):
    found: list[Ranking] = []
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("LLMREC_THREADS", threads)
        monkeypatch.setattr("llmrec.retrieve.reading.THREAD_CELLS", 24)
        found.append(hybrid.recommend(queries, 8))
    for one in found[1:]:
        np.testing.assert_array_equal(one.items, found[0].items)
        np.testing.assert_array_equal(one.scores, found[0].scores)


def test_what_compares_lists_is_given_them_as_they_came_in():
    """As the stage before ranked them; behind, by their ranks, what its own retrievers propose; scores go home."""
    catalog = tiny_catalog()
    log = tiny_interactions(0, catalog)
    given = []

    class Comparing:
        name, compares = "comparing", True

        def score(self, queries, items):
            given.append(items)
            return np.where(items >= 0, -np.arange(items.shape[1]), np.nan).astype(np.float32)

    popular, queries = fit_popularity(log, catalog), log.queries(np.arange(3))
    proposed = popular.retrieve(queries, 5).items
    incoming = Candidates(np.array([[7, 2, 9], [9, 7, -1], [-1, -1, -1]], np.int32))
    found = score_candidates([(popular, 5)], [Comparing()], queries, incoming)
    for row, items in enumerate(given[0]):
        before = [item for item in incoming.items[row].tolist() if item >= 0]
        expected = before + [item for item in proposed[row].tolist() if item not in before and item >= 0]
        assert items[items >= 0].tolist() == expected
        assert (items[len(expected) :] == -1).all()
        order = np.argsort(-found.columns["comparing"][row, : len(expected)])
        assert found.items[row, order].tolist() == expected


def test_retrievers_lists_are_united_by_reciprocal_ranks():
    given = []

    class Comparing:
        name, compares = "comparing", True

        def score(self, queries, items):
            given.append(items)
            return np.zeros(items.shape, np.float32)

    @dataclass
    class Fixed:
        name: str
        items: list

        def retrieve(self, queries, k):
            return Ranking(np.array([self.items], np.int32), np.zeros((1, len(self.items)), np.float32))

        def score(self, queries, items):
            return np.zeros(items.shape, np.float32)

    lists = [(Fixed("a", [5, 1, 2]), 3), (Fixed("b", [1, 3, 5]), 3)]
    score_candidates(lists, [Comparing()], Queries.from_lists([[0]]))
    assert given[0].tolist() == [[1, 5, 3, 2]]
