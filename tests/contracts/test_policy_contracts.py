from dataclasses import dataclass, replace

import numpy as np
import pytest

from llmrec.testing.contracts import POLICY_CHECKS
from llmrec.types import Ranking


@pytest.fixture(scope="session")
def ranking(queries):
    """Lists of six with pads at the end of some."""
    rng = np.random.default_rng(1)
    items = np.stack([rng.permutation(12)[:6] for _ in range(len(queries))]).astype(np.int32)
    items[1, 4:] = -1
    scores = np.where(items >= 0, np.arange(6, 0, -1), 0).astype(np.float32)
    return Ranking(items, scores, np.full(items.shape, 0.5, np.float32))


@pytest.mark.parametrize("check", POLICY_CHECKS, ids=lambda c: c.__name__)
def test_contract(policy, check, ranking, queries):
    check(policy, ranking, queries)


@pytest.mark.parametrize("check", POLICY_CHECKS, ids=lambda c: c.__name__)
def test_contract_after_reloading(policy, reloaded, check, ranking, queries):
    check(reloaded(policy), ranking, queries)


@dataclass
class Broken:
    fault: str

    def prepare(self, queries):
        return replace(queries, exclude=None) if self.fault == "policies_never_widen" else queries

    def apply(self, queries, ranking, k):
        if self.fault == "policies_only_remove_or_reorder":
            return ranking
        return Ranking(ranking.items[:, :k], ranking.scores[:, :k])


@pytest.mark.parametrize("check", POLICY_CHECKS, ids=lambda c: c.__name__)
def test_every_check_bites(check, ranking, queries):
    check(Broken("none"), ranking, queries)
    with pytest.raises(AssertionError):
        check(Broken(check.__name__), ranking, queries)
