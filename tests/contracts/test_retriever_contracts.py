from types import SimpleNamespace

import numpy as np
import pytest

from llmrec.component import Forgets
from llmrec.retrieve import EaseConfig, fit_ease
from llmrec.testing.contracts import RETRIEVER_CHECKS, changed_items_are_read_again, forgotten_items_are_as_new
from llmrec.types import Ranking


@pytest.mark.parametrize("check", RETRIEVER_CHECKS, ids=lambda c: c.__name__)
def test_contract(retriever, check, catalog, queries):
    check(retriever, catalog, queries)


def test_a_reloaded_retriever_is_the_same(retriever, reloaded, catalog, queries):
    again = reloaded(retriever)
    assert again.name == retriever.name
    for k in (3, len(catalog)):
        before, after = retriever.retrieve(queries, k), again.retrieve(queries, k)
        np.testing.assert_array_equal(after.items, before.items)
        np.testing.assert_array_equal(after.scores, before.scores)
    items = np.tile(np.arange(len(catalog), dtype=np.int32), (len(queries), 1))
    np.testing.assert_array_equal(again.score(queries, items), retriever.score(queries, items))


@pytest.mark.parametrize("check", RETRIEVER_CHECKS, ids=lambda c: c.__name__)
def test_contract_after_reloading(retriever, reloaded, check, catalog, queries):
    check(reloaded(retriever), catalog, queries)


class Mutant:
    """A good retriever, but for one thing."""

    def __init__(self, inner, fault):
        self.inner, self.name, self.fault = inner, inner.name, fault
        if hasattr(fault, "compares"):
            self.compares = True

    def retrieve(self, queries, k):
        fault = getattr(self.fault, "retrieve", None)
        return fault(self.inner, queries, k) if fault else self.inner.retrieve(queries, k)

    def score(self, queries, items):
        fault = getattr(self.fault, "score", None)
        return fault(self.inner, queries, items) if fault else self.inner.score(queries, items)

    def read(self, queries):
        fault = getattr(self.fault, "read", None)
        return fault(self.inner, queries) if fault else self.inner.read(queries)

    def with_items(self, catalog, changed):
        fault = getattr(self.fault, "with_items", None)
        return fault(self.inner, catalog, changed) if fault else self.inner.with_items(catalog, changed)

    def forgetting(self, items):
        fault = getattr(self.fault, "forgetting", None)
        return fault(self.inner, items) if fault else self.inner.forgetting(items)


class Repeats:
    @staticmethod
    def retrieve(inner, queries, k):
        found = inner.retrieve(queries, k)
        return Ranking(np.where(found.items >= 0, found.items[:, :1], -1).astype(np.int32), found.scores)


class Silent:
    @staticmethod
    def retrieve(inner, queries, k):
        found = inner.retrieve(queries, k)
        return Ranking(np.full_like(found.items, -1), np.zeros_like(found.scores))


class IgnoresExclude:
    @staticmethod
    def retrieve(inner, queries, k):
        return inner.retrieve(_without(queries, "exclude"), k)


class IgnoresAllow:
    @staticmethod
    def retrieve(inner, queries, k):
        return inner.retrieve(_without(queries, "allow"), k)


class SkipsTheBestOfShortLists:
    @staticmethod
    def retrieve(inner, queries, k):
        return _later(inner.retrieve(queries, k + 1)) if k < 6 else inner.retrieve(queries, k)


class DependsOnTheBatch:
    @staticmethod
    def retrieve(inner, queries, k):
        return _later(inner.retrieve(queries, k + 1)) if len(queries) == 1 else inner.retrieve(queries, k)


class ShowsOtherScores:
    @staticmethod
    def retrieve(inner, queries, k):
        found = inner.retrieve(queries, k)
        return Ranking(found.items, np.where(found.items >= 0, found.scores + 1, 0).astype(np.float32))


class ScoresPads:
    @staticmethod
    def score(inner, queries, items):
        return np.nan_to_num(inner.score(queries, items), nan=0.0)


class ScoresPlaces:
    @staticmethod
    def score(inner, queries, items):
        return inner.score(queries, items) + np.arange(items.shape[1], dtype=np.float32)


class MixesQueries:
    @staticmethod
    def score(inner, queries, items):
        return inner.score(queries, items) + np.float32(len(queries))


class MixesComparedLists(MixesQueries):
    compares = True


class ForgetsEmptyBatches:
    @staticmethod
    def score(inner, queries, items):
        return inner.score(queries, items) if len(queries) else np.empty((0, 0), np.float32)


class ForgetsDeletions:
    @staticmethod
    def with_items(inner, catalog, changed):
        from dataclasses import replace

        return inner.with_items(replace(catalog, active=np.ones(len(catalog), dtype=np.bool_)), changed)


class ForgetsReturns:
    @staticmethod
    def with_items(inner, catalog, changed):
        from dataclasses import replace

        active = catalog.active.copy()
        active[changed] = False
        return Mutant(inner.with_items(replace(catalog, active=active), changed), ForgetsReturns)


class ForgetsChanges:
    @staticmethod
    def with_items(inner, catalog, changed):
        return inner.with_items(catalog, changed[:0])


class RemembersEverything:
    @staticmethod
    def forgetting(inner, items):
        return inner


class ReadsTheFirstOfAll:
    @staticmethod
    def read(inner, queries):
        read = inner.read(queries)
        return SimpleNamespace(
            n_queries=read.n_queries, n_items=read.n_items, some=lambda rows: read.some(np.arange(len(rows)))
        )


class WritesIntoItems:
    @staticmethod
    def score(inner, queries, items):
        scores = inner.score(queries, items)
        items[:, 0] = -1
        return scores


MUTANTS = {
    "scores_are_columns": ScoresPads,
    "places_do_not_matter": ScoresPlaces,
    "lists_decide_alone": MixesComparedLists,
    "queries_do_not_mix": MixesQueries,
    "nothing_in_nothing_out": ForgetsEmptyBatches,
    "new_items_are_scored_or_nan": ForgetsDeletions,
    "changed_items_are_read_again": ForgetsReturns,
    "forgotten_items_are_as_new": RemembersEverything,
    "inputs_stay_untouched": WritesIntoItems,
    "lists_are_well_formed": Repeats,
    "proposes_for_some_query": Silent,
    "excluded_items_stay_out": IgnoresExclude,
    "only_allowed_items_come_back": IgnoresAllow,
    "short_lists_are_prefixes": SkipsTheBestOfShortLists,
    "batches_do_not_matter": DependsOnTheBatch,
    "retrieving_and_scoring_agree": ShowsOtherScores,
    "reading_once_is_the_same": ReadsTheFirstOfAll,
}


@pytest.mark.parametrize("check", RETRIEVER_CHECKS, ids=lambda c: c.__name__)
def test_every_check_bites(check, catalog, interactions, queries):
    good = fit_ease(interactions, catalog, EaseConfig(l2=5.0))
    check(Mutant(good, None), catalog, queries)
    with pytest.raises(AssertionError):
        check(Mutant(good, MUTANTS[check.__name__]), catalog, queries)


@pytest.mark.parametrize("name", ["dense", "bm25", "sequence", "sequence/text", "semantic_id"])
def test_a_retriever_that_keeps_old_texts_is_caught(made, name, catalog, queries):
    good, check = made("retriever", name), changed_items_are_read_again
    check(Mutant(good, None), catalog, queries)
    with pytest.raises(AssertionError):
        check(Mutant(good, ForgetsChanges), catalog, queries)


class RemembersHistories:
    @staticmethod
    def forgetting(inner, items):
        from dataclasses import replace

        return replace(inner, known=inner.known & ~items)


def test_every_component_of_ours_can_forget(made, suites):
    for name, role in suites.items():
        if role in ("retriever", "scorer"):
            assert isinstance(made(role, name), Forgets), name


def test_a_retriever_that_reads_what_it_forgot_in_histories_is_caught(catalog, interactions, queries):
    good = fit_ease(interactions, catalog, EaseConfig(l2=5.0))
    with pytest.raises(AssertionError):
        forgotten_items_are_as_new(Mutant(good, RemembersHistories), catalog, queries)


def _without(queries, name):
    from dataclasses import replace

    return replace(queries, **{name: None})


def _later(ranking):
    return Ranking(ranking.items[:, 1:], ranking.scores[:, 1:])
