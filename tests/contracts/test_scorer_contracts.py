import numpy as np
import pytest

from llmrec.testing.contracts import SCORER_CHECKS


@pytest.mark.parametrize("check", SCORER_CHECKS, ids=lambda c: c.__name__)
def test_contract(scorer, check, catalog, queries):
    check(scorer, catalog, queries)


def test_a_reloaded_scorer_is_the_same(scorer, reloaded, catalog, queries):
    items = np.tile(np.arange(len(catalog), dtype=np.int32), (len(queries), 1))
    np.testing.assert_array_equal(reloaded(scorer).score(queries, items), scorer.score(queries, items))
