from dataclasses import replace

import numpy as np
import pytest

from llmrec.component import FitContext, HoldsItems, find_component
from llmrec.policy import PinConfig
from llmrec.policy.pin import COMPONENT
from llmrec.testing.policy_contracts import POLICY_CHECKS
from llmrec.types import Csr, Item, Ranking


@pytest.fixture(scope="session")
def asked(queries):
    """The shared queries with times, and with something excluded and something not allowed."""
    at = np.int64([1, 500_000_000, 600_000_000, 700_000_000, 10**9])
    exclude = Csr.from_lists([[], [8], [2, 10], [11], []])
    return replace(queries, at=at, exclude=exclude, allow=np.arange(12) != 6)


@pytest.mark.parametrize("check", POLICY_CHECKS, ids=lambda c: c.__name__)
def test_contract(policy, check, catalog, queries, asked):
    check(policy, catalog, queries)
    check(policy, catalog, asked)


@pytest.mark.parametrize("check", POLICY_CHECKS, ids=lambda c: c.__name__)
def test_contract_after_reloading(policy, reloaded, check, catalog, asked):
    check(reloaded(policy), catalog, asked)


def test_a_reloaded_policy_is_the_same(policy, reloaded, catalog, asked, rng):
    items = np.stack([rng.permutation(12) for _ in range(len(asked))]).astype(np.int32)
    ranking = Ranking(items, np.tile(np.arange(12, 0, -1), (5, 1)).astype(np.float32))
    before, after = policy.prepare(asked), reloaded(policy).prepare(asked)
    np.testing.assert_array_equal(before.allow, after.allow)
    np.testing.assert_array_equal(before.exclude.values, after.exclude.values)
    one, other = policy.apply(before, ranking, 5), reloaded(policy).apply(after, ranking, 5)
    np.testing.assert_array_equal(one.items, other.items)
    np.testing.assert_array_equal(one.scores, other.scores)
    assert (one.propensities is None) == (other.propensities is None)
    assert reloaded(policy).depth(7) == policy.depth(7)
    assert reloaded(policy).name == policy.name


def test_growing_and_changing_equals_fitting_anew(policy, catalog, asked, rng):
    grown = catalog.with_changes([Item("i2", {"genres": "Thriller", "year": 2011, "title": "other words"})])
    grown = grown.with_items(
        [Item("n1", {"genres": "Noir Comedy", "year": 2024, "title": "new"}), Item("n2", {"title": "bare"})]
    )
    grown = grown.without_items(["i9"])
    if not isinstance(policy, HoldsItems):
        return
    later = policy.with_items(grown, np.int32([2]))
    fresh = find_component(policy.component).fit(FitContext(policy.name, grown, None), policy.config)
    items = np.stack([rng.permutation(14) for _ in range(len(asked))]).astype(np.int32)
    items[items == 9] = -1
    items = np.take_along_axis(items, np.argsort(items < 0, axis=1, kind="stable"), axis=1)
    ranking = Ranking(items, np.where(items >= 0, 1.0, 0.0).astype(np.float32))
    wide = replace(asked, allow=np.arange(14) != 6)
    before, after = later.prepare(wide), fresh.prepare(wide)
    np.testing.assert_array_equal(before.allow, after.allow)
    one, other = later.apply(before, ranking, 6), fresh.apply(after, ranking, 6)
    np.testing.assert_array_equal(one.items, other.items)
    np.testing.assert_array_equal(one.scores, other.scores)


class Mutant:
    """A good policy, but for one thing."""

    def __init__(self, inner, fault):
        self.inner, self.fault = inner, fault

    def inserted(self, queries):
        return self.inner.inserted(queries)

    def prepare(self, queries):
        return replace(queries, exclude=None) if self.fault == "policies_never_widen" else queries

    def depth(self, k):
        return k - 1 if self.fault == "policies_know_their_depth" else self.inner.depth(k)

    def with_items(self, catalog, changed):
        forgetful = self.fault == "policies_keep_deleted_items_out"
        return self if forgetful else Mutant(self.inner.with_items(catalog, changed), self.fault)

    def apply(self, queries, ranking, k):
        if self.fault == "policies_return_well_formed_lists":
            return ranking
        if self.fault == "policies_add_only_what_they_declare":
            return self.inner.apply(replace(queries, exclude=None, allow=None), ranking, k)
        if self.fault == "policies_do_not_mix_queries" and len(queries) == 1:
            return Ranking(ranking.items[:, :k], ranking.scores[:, :k])
        if self.fault == "policies_leave_their_input_alone":
            ranking.scores[:, 0] += 1
        done = self.inner.apply(queries, ranking, k)
        return replace(done, propensities=None) if self.fault == "policies_pass_propensities_on" else done


@pytest.mark.parametrize("check", POLICY_CHECKS, ids=lambda c: c.__name__)
def test_every_check_bites(check, catalog, queries, asked):
    good = COMPONENT.fit(FitContext("pin", catalog, None), PinConfig(items={"i11": 1, "i3": 4}))
    for these in (queries, asked):
        check(Mutant(good, "none"), catalog, these)
    with pytest.raises(AssertionError):
        check(Mutant(good, check.__name__), catalog, queries)


class Wild(Mutant):
    """Adds items that nobody declared."""

    def apply(self, queries, ranking, k):
        return replace(self.inner.apply(queries, ranking, k), propensities=None)

    def inserted(self, queries):
        return np.empty((len(queries), 0), np.int32)


def test_undeclared_items_are_found(catalog, queries):
    good = COMPONENT.fit(FitContext("pin", catalog, None), PinConfig(items={"i11": 1, "i3": 4}))
    check = next(c for c in POLICY_CHECKS if c.__name__ == "policies_add_only_what_they_declare")
    with pytest.raises(AssertionError, match="from nowhere"):
        check(Wild(good, "none"), catalog, queries)
