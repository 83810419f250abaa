"""Fitting LambdaMART: trees are grown and judged on different users, and kept only if they are surely better."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmrec.component import Component, FitContext
from llmrec.fuse._boosting import booster_of, grow, score_in_steps, text_of
from llmrec.fuse.base import column_ranks
from llmrec.fuse.features import Features
from llmrec.fuse.lambdamart import (
    LambdaMart,
    LambdaMartConfig,
    Trees,
    load_lambdamart,
    place_unjudged,
)
from llmrec.fuse.rrf import COMPONENT as RRF
from llmrec.fuse.rrf import ReciprocalRankFusion
from llmrec.types import BoolArray, Candidates, Float32Array, Int32Array

__all__ = ["COMPONENT", "fit_lambdamart"]

Float64Array = NDArray[np.float64]
STEP = 10
"""Trees between two looks at the held-out users."""
CUT = 10
"""Trees are judged by NDCG at this rank."""


@dataclass(frozen=True, slots=True, eq=False)
class _Sheet:
    """The cases as a learner sees them.

    Attributes:
        features: what the columns of the matrix are.
        always: columns that (nearly) every target has evidence in.
        judged: Bool[n, k], the candidates that are learned from.
        matrix: Float32[m, f], these, case by case.
        hits: Bool[m], which of them are targets.
        fold: Int64[n], the part each case belongs to.
    """

    features: Features
    always: tuple[str, ...]
    judged: BoolArray
    matrix: Float32Array
    hits: BoolArray
    fold: NDArray[np.int64]

    def of(self, cases: BoolArray) -> tuple[Float32Array, BoolArray, NDArray[np.int64]]:
        """Matrix, hits and number of candidates of some of the cases, Bool[n]."""
        rows = np.repeat(cases, self.judged.sum(axis=1))
        return self.matrix[rows], self.hits[rows], self.judged[cases].sum(axis=1)


def fit_lambdamart(context: FitContext, config: LambdaMartConfig) -> LambdaMart:
    """Tune weighted RRF, grow trees on the same cases, and keep the trees if they are surely better.

    The models behind the columns have not seen the targets. The number of trees is the best one for users that the
    trees were not grown on; for these users the trees must also have a better NDCG@10 than weighted RRF and than the
    best single column, both judged on the very cases they were chosen on. Cases whose target is not among the
    candidates that are judged teach nothing and are left out of growing, not of judging.

    Args:
        context: with candidates and their validation cases.
        config: its settings.

    Returns:
        The fusion; without trees where there are too few cases or the trees are not better.

    Raises:
        MissingExtraError: LightGBM is not installed.
    """
    candidates, cases = context.candidates, context.validation
    if candidates is None:
        raise ValueError("a fusion is fitted on candidates")
    rrf: ReciprocalRankFusion = RRF.fit(context, config.rrf)
    alone = LambdaMart(context.name, config, rrf, None, {"fallback": "there are no cases to learn from"})
    if cases is None or len(cases) == 0:
        return alone
    fused = rrf.fuse(cases.queries, candidates)
    sheet = _sheet(context, config, fused)
    taught = _has_hit(sheet)
    report: dict[str, Any] = {"cases": len(cases), "learned from": int(taught.sum()), "depth": config.depth}
    if taught.sum() < config.min_cases:
        reason = f"{taught.sum()} cases have their target among the best {config.depth}, {config.min_cases} are needed"
        return _told(replace(alone, report={**report, "fallback": reason}), context)
    context.progress(f"growing trees on {taught.sum()} cases, {config.folds} folds")
    trees, scores = _cross_validated(sheet, config, context.seed)
    found = {
        "trees": _ndcg(place_unjudged(fused, scores, sheet.judged, candidates.items >= 0), candidates, cases.targets),
        "rrf": _ndcg(fused, candidates, cases.targets),
        **_best_column(candidates, cases.targets),
    }
    report |= {"trees": trees, f"NDCG@{CUT}": {name: float(values.mean()) for name, values in found.items()}}
    if reason := _not_better(found, config.caution):
        return _told(replace(alone, report={**report, "fallback": reason}), context)
    kept, gains = _kept(sheet, config, trees, context.seed)
    return _told(
        replace(alone, trees=kept, report={**report, "gain": [[name, share] for name, share in gains.items()]}), context
    )


def _told(fusion: LambdaMart, context: FitContext) -> LambdaMart:
    context.progress(f"{fusion.name}: {fusion.summary}")
    return fusion


def _kept(sheet: _Sheet, config: LambdaMartConfig, trees: int, seed: int) -> tuple[Trees, dict[str, float]]:
    """Grow the trees that are kept, on all cases; and say what they gain from."""
    grown = _grown(sheet, _has_hit(sheet), config, trees, seed)
    gains = _gains(grown, sheet.features)
    unused = tuple(c for c in sheet.features.columns if not any(name.startswith(f"{c}:") for name in gains))
    text = text_of(grown)
    # read back: what serves now is to the last bit what a bundle will bring back
    return Trees(sheet.features, text, booster_of(text), sheet.always, unused), gains


def _sheet(context: FitContext, config: LambdaMartConfig, fused: Float32Array) -> _Sheet:
    """Describe the candidates that the trees will be asked about."""
    candidates, cases = context.candidates, context.validation
    assert candidates is not None
    assert cases is not None
    features = Features.of(candidates, context.train)
    is_target = _is_target(candidates, cases.targets)
    always = _always(candidates, is_target, config.evidence)
    judged = Trees(features, "", None, always).judges(cases.queries, candidates, fused, config.depth)
    matrix = np.concatenate([part for _, part in features.matrices(cases.queries, candidates, fused, judged)])
    fold = np.random.default_rng(context.seed).permutation(len(cases)) % config.folds
    return _Sheet(features, always, judged, matrix, is_target[judged], fold.astype(np.int64))


def _is_target(candidates: Candidates, targets: Int32Array) -> BoolArray:
    found: BoolArray = candidates.items == targets[:, None]
    return found


def _always(candidates: Candidates, is_target: BoolArray, share: float) -> tuple[str, ...]:
    """Columns without evidence on less than this share of the targets: what that means could not be learned."""
    return tuple(n for n, c in candidates.columns.items() if np.isnan(c[is_target]).sum() < share * is_target.sum())


def _has_hit(sheet: _Sheet) -> BoolArray:
    """Bool[n]: True for a case whose target the trees are asked about."""
    owners = np.nonzero(sheet.judged)[0]
    return np.bincount(owners[sheet.hits], minlength=len(sheet.judged)) > 0


def _cross_validated(sheet: _Sheet, config: LambdaMartConfig, seed: int) -> tuple[int, Float32Array]:
    """Score every case by trees grown on other users.

    Returns:
        The number of trees that ranks held-out targets best, and Float32[n, k], the scores of so many.
    """
    taught = _has_hit(sheet)
    steps = np.zeros((-(-config.max_trees // STEP), len(sheet.matrix)), dtype=np.float32)
    for part in range(config.folds):
        held_out = sheet.fold == part
        grown = _grown(sheet, taught & ~held_out, config, config.max_trees, seed)
        rows = np.repeat(held_out, sheet.judged.sum(axis=1))
        steps[:, rows] = score_in_steps(grown, sheet.matrix[rows], STEP)
    owners, places = np.nonzero(sheet.judged)
    scores = np.full(sheet.judged.shape, -np.inf, dtype=np.float32)
    is_target = np.zeros(sheet.judged.shape, dtype=np.bool_)
    is_target[owners, places] = sheet.hits
    quality = []
    for step in steps:
        scores[owners, places] = step
        quality.append(_gains_of(scores, is_target).mean())
    best = int(np.argmax(quality))
    scores[:] = 0
    scores[owners, places] = steps[best]
    return min((best + 1) * STEP, config.max_trees), scores


def _grown(sheet: _Sheet, cases: BoolArray, config: LambdaMartConfig, trees: int, seed: int) -> Any:
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
    matrix, hits, groups = sheet.of(cases)
    return grow(matrix, hits, groups, sheet.features.names, settings)


def _ndcg(scores: Float32Array, candidates: Candidates, targets: Int32Array) -> Float64Array:
    valid = candidates.items >= 0
    return _gains_of(np.where(valid, scores, -np.inf), _is_target(candidates, targets) & valid)


def _gains_of(scores: NDArray[np.floating], is_target: BoolArray) -> Float64Array:
    """NDCG@10 of one target per row, Float64[n]; -inf does not compete, a tie with the target counts half."""
    own = np.max(scores, axis=1, keepdims=True, initial=-np.inf, where=is_target)
    rank = 0.5 + (scores > own).sum(axis=1) + (scores == own).sum(axis=1) / 2
    found: Float64Array = np.where(is_target.any(axis=1) & (rank <= CUT), 1 / np.log2(rank + 1), 0.0)
    return found


def _best_column(candidates: Candidates, targets: Int32Array) -> dict[str, Float64Array]:
    """NDCG@10 of the single column with the highest, by its name."""
    each = {}
    for name, column in candidates.columns.items():
        ranks = column_ranks(column)
        each[name] = _ndcg(np.where(ranks > 0, -ranks, -np.inf).astype(np.float32), candidates, targets)
    best = max(each, key=lambda name: float(each[name].mean()))
    return {best: each[best]}


def _not_better(found: dict[str, Float64Array], caution: float) -> str:
    """Say what the trees are not surely better than; "" if there is nothing."""
    for name, values in found.items():
        gain = found["trees"] - values
        error = gain.std(ddof=1) / np.sqrt(len(gain))
        if name != "trees" and gain.mean() <= caution * error:
            return f"for users out of fold, NDCG@{CUT} is {gain.mean():+.4f} +- {error:.4f} over {name}"
    return ""


def _gains(grown: Any, features: Features) -> dict[str, float]:
    """Share of the gain of each feature that any tree looks at, largest first."""
    gains = grown.feature_importance(importance_type="gain")
    order = np.argsort(-gains, kind="stable")
    return {features.names[i]: float(gains[i] / gains.sum()) for i in order if gains[i] > 0}


COMPONENT = Component("fusion", LambdaMartConfig, fit_lambdamart, load_lambdamart, requires=("lightgbm",), extra="rank")
