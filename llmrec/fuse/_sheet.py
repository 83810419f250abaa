"""What a learned fusion learns from: cases with their candidates as rows of numbers, and scores for users left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmrec.data import Holdout
from llmrec.fuse._boosting import grow, score_in_steps
from llmrec.fuse._quality import is_target, ndcg, places
from llmrec.fuse.lambdamart import LambdaMartConfig, Trees
from llmrec.types import BoolArray, Candidates, Float32Array, Int32Array

__all__ = ["STEP", "Sheet", "cross_validated", "grown", "make_sheet"]

STEP = 10
"""Trees between two looks at the held-out users."""


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """Cases as a learner sees them; n cases, f features.

    Attributes:
        candidates: of all cases.
        targets: Int32[n].
        fused: Float32[n, k], what weighted RRF makes of the candidates.
        judged: Bool[n, k], the candidates that the trees are asked about.
        known: Bool[n, k], True for items with an interaction in training.
        matrix: Float32[m, f], the judged candidates, case by case.
        learned: Bool[m], which of these are learned from.
        fold: Int64[n], the part each case belongs to; the cases of one user are all in one.
        weights: Float64[n], what each case counts.
    """

    candidates: Candidates
    targets: Int32Array
    fused: Float32Array
    judged: BoolArray
    known: BoolArray
    matrix: Float32Array
    learned: BoolArray
    fold: NDArray[np.int64]
    weights: NDArray[np.float64]

    @property
    def hits(self) -> BoolArray:
        """Bool[m]: True at targets."""
        return is_target(self.candidates, self.targets)[self.judged]

    @property
    def teaches(self) -> BoolArray:
        """Bool[n]: True for a case whose target is among the candidates that are learned from."""
        owners = np.nonzero(self.judged)[0]
        return np.bincount(owners[self.hits & self.learned], minlength=len(self.judged)) > 0

    @property
    def there(self) -> BoolArray:
        """Bool[n, k]: False at pads."""
        return np.asarray(self.candidates.items >= 0)

    def spread(self, values: Float32Array, fill: float) -> Float32Array:
        """Lay Float32[m], a value per judged candidate, out as Float32[n, k]."""
        found = np.full(self.judged.shape, fill, dtype=np.float32)
        found[self.judged] = values
        return found


def make_sheet(
    trees: Trees,
    cases: Holdout,
    candidates: Candidates,
    fused: Float32Array,
    config: LambdaMartConfig,
    fold: NDArray[np.int64],
    weights: NDArray[np.float64] | None = None,
) -> Sheet:
    """Describe the candidates that the trees will be asked about.

    Args:
        trees: what they look at, and what they judge; not grown yet.
        cases: n cases.
        candidates: of these.
        fused: Float32[n, k], what weighted RRF makes of them.
        config: settings.
        fold: Int64[n].
        weights: Float64[n] of cases in which some items are treated as new; None: in the others, in which items that
            really are new are never targets, so that nothing is to be learned of them.
    """
    judged = trees.judges(cases.queries, candidates, fused, config)
    parts = [part for _, part in trees.features.matrices(cases.queries, candidates, fused, judged)]
    matrix = np.concatenate(parts) if parts else np.empty((0, len(trees.features.names)), np.float32)
    known = trees.features.is_known(candidates.items)
    return Sheet(
        candidates=candidates,
        targets=cases.targets,
        fused=fused,
        judged=judged,
        known=known,
        matrix=matrix,
        learned=known[judged] if weights is None else np.ones(len(matrix), dtype=np.bool_),
        fold=fold,
        weights=np.ones(len(cases)) if weights is None else weights,
    )


def grown(
    sheets: Sequence[Sheet], names: tuple[str, ...], config: LambdaMartConfig, trees: int, seed: int, without: int = -1
) -> Any:
    """Grow trees on the cases of all sheets but those of one part.

    Returns:
        A lightgbm.Booster.
    """
    settings = {
        "objective": "rank_xendcg" if config.objective == "xendcg" else "lambdarank",
        "lambdarank_truncation_level": config.depth,  # before the first tree any order is as good: look at all of them
        "num_iterations": trees,
        "learning_rate": config.learning_rate,
        "num_leaves": config.leaves,
        "min_data_in_leaf": config.min_leaf,
        "lambda_l2": 10.0,
        "feature_fraction": 0.5,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "seed": seed,
    }
    matrices, hits, groups, weights = [], [], [], []
    for sheet in sheets:
        owners = np.nonzero(sheet.judged)[0]
        rows = sheet.learned & (sheet.teaches & (sheet.fold != without))[owners]
        sizes = np.bincount(owners[rows], minlength=len(sheet.targets))
        matrices.append(sheet.matrix[rows])
        hits.append(sheet.hits[rows])
        groups.append(sizes[sizes > 0])
        weights.append(sheet.weights[owners[rows]])
    together = None if len(sheets) == 1 else np.concatenate(weights)
    return grow(np.concatenate(matrices), np.concatenate(hits), np.concatenate(groups), names, settings, together)


def cross_validated(
    sheets: Sequence[Sheet], names: tuple[str, ...], config: LambdaMartConfig, seed: int
) -> tuple[int, list[Float32Array]]:
    """Score every judged candidate by trees grown on other users.

    Returns:
        The number of trees that ranks held-out targets of the first sheet best, and of each sheet Float32[m], the
        scores of so many.
    """
    steps = [np.zeros((-(-config.max_trees // STEP), len(sheet.matrix)), dtype=np.float32) for sheet in sheets]
    for part in range(config.folds):
        booster = grown(sheets, names, config, config.max_trees, seed, part)
        for sheet, scores in zip(sheets, steps, strict=True):
            rows = (sheet.fold == part)[np.nonzero(sheet.judged)[0]]
            scores[:, rows] = score_in_steps(booster, sheet.matrix[rows], STEP)
    best = int(np.argmax([_quality(sheets[0], one) for one in steps[0]]))
    return min((best + 1) * STEP, config.max_trees), [scores[best] for scores in steps]


def _quality(sheet: Sheet, scores: Float32Array) -> float:
    """NDCG@10 among the candidates that were learned from."""
    competing = sheet.spread(np.where(sheet.learned, scores, -np.inf).astype(np.float32), -np.inf)
    return float(ndcg(places(competing, is_target(sheet.candidates, sheet.targets))).mean())
