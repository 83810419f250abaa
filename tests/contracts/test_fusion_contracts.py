from dataclasses import dataclass, replace

import numpy as np
import pytest

from llmrec.testing.contracts import FUSION_CHECKS


@pytest.mark.parametrize("check", FUSION_CHECKS, ids=lambda c: c.__name__)
def test_contract(fusion, check, candidates, queries):
    check(fusion, candidates, queries)


def test_a_reloaded_fusion_is_the_same(fusion, reloaded, candidates, queries):
    np.testing.assert_array_equal(reloaded(fusion).fuse(queries, candidates), fusion.fuse(queries, candidates))


@dataclass
class Means:
    """A sum of what is known, with a fault."""

    fault: str

    def fuse(self, queries, candidates):
        columns = list(candidates.columns.values()) or [np.zeros(candidates.items.shape)]
        fused = sum(c if self.fault == "fused_scores_are_finite" else np.nan_to_num(c) for c in columns)
        if self.fault == "fusion_follows_unanimity":
            fused = -fused
        if self.fault == "fusion_ignores_places":
            fused = fused + np.arange(fused.shape[1])
        return fused.astype(np.float32)

    def ignores(self, queries, candidates):
        return frozenset(candidates.columns if self.fault == "ignored_columns_do_not_matter" else ())


@pytest.mark.parametrize("check", FUSION_CHECKS, ids=lambda c: c.__name__)
def test_every_check_bites(check, candidates, queries):
    check(Means("none"), candidates, queries)
    with pytest.raises(AssertionError):
        check(Means(check.__name__), candidates, queries)


def test_pads_do_no_harm(fusion, candidates, queries):
    items = candidates.items.copy()
    items[:, 5:] = -1
    columns = {name: np.where(items >= 0, c, np.float32(np.nan)) for name, c in candidates.columns.items()}
    padded = fusion.fuse(queries, replace(candidates, items=items, columns=columns))
    cut = {name: c[:, :5] for name, c in candidates.columns.items()}
    short = fusion.fuse(queries, replace(candidates, items=items[:, :5], columns=cut))
    np.testing.assert_array_equal(padded[:, :5], short)
