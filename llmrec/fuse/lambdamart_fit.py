"""Fitting LambdaMART: trees are grown and judged on different users, and kept only if they are surely better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from llmrec.component import Component, FitContext, Simulated
from llmrec.fuse._boosting import text_of
from llmrec.fuse._library import LoadedTrees
from llmrec.fuse._quality import CUT, Float64Array, is_target, mean_and_error, ndcg, places, recall
from llmrec.fuse._sheet import Sheet, cross_validated, grown, make_sheet
from llmrec.fuse.base import column_ranks
from llmrec.fuse.features import Features
from llmrec.fuse.lambdamart import LambdaMart, LambdaMartConfig, NewItems, Trees, load_lambdamart, place
from llmrec.fuse.lift import MIN_NEW, split_gains
from llmrec.fuse.rrf import COMPONENT as RRF
from llmrec.fuse.rrf import ReciprocalRankFusion
from llmrec.types import Candidates, Float32Array, Int32Array

__all__ = ["COMPONENT", "fit_lambdamart"]

DEEP_CUT = 200
"""How many a next stage is usually given."""
LIFTS = (*(-0.5 * step for step in range(8, 2, -1)), *(0.1 * step for step in range(-10, 21)), 2.5, 3.0, 3.5, 4.0)
"""What is tried for new items, in standard deviations of the scores of known ones."""
COSTS = (0.01, 0.03, 0.05, 0.1)
"""Other values of `new_item_cost` of which the report says what they would give."""
SIMULATED_WEIGHT = 0.5
"""What all simulated cases together count, beside all others."""


@dataclass(frozen=True, slots=True, eq=False)
class _Material:
    """What the trees learn from.

    Attributes:
        trees: what they look at, and what they judge; not grown yet.
        sheets: the tuning cases; after them the simulated ones, a sheet each.
        simulated: the latter as they came.
    """

    trees: Trees
    sheets: tuple[Sheet, ...]
    simulated: tuple[Simulated, ...]


def fit_lambdamart(context: FitContext, config: LambdaMartConfig) -> LambdaMart:
    """Tune weighted RRF, grow trees on the same cases, and keep the trees if they are surely better.

    The models behind the columns have not seen the targets. The number of trees is the best one for users that the
    trees were not grown on; for these users the trees must also have a better NDCG@10 than weighted RRF and than the
    best single column, both judged on the very cases they were chosen on. Cases whose target is not among the
    candidates that are judged teach nothing and are left out of growing, not of judging. Where new items could be
    simulated, the trees learn from these cases too, and judge new items if that finds more of them.

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
    simulated = context.simulate(config.rrf.new_item_cases)
    context = replace(context, simulate=lambda count: simulated)  # once is enough
    rrf: ReciprocalRankFusion = RRF.fit(context, config.rrf)
    alone = LambdaMart(context.name, config, rrf, None, {"fallback": "there are no cases to learn from"})
    if cases is None or len(cases) == 0:
        return alone
    material = _material(context, rrf, config, simulated)
    taught = int(material.sheets[0].teaches.sum())
    report: dict[str, Any] = {"cases": len(cases), "learned from": taught, "depth": config.depth}
    if rrf.lift is not None:
        report["new items, rrf"] = dict(rrf.lift.report)
    if taught < config.min_cases:
        reason = f"{taught} cases have their target among the best {config.depth}, {config.min_cases} are needed"
        return _told(replace(alone, report={**report, "fallback": reason}), context)
    context.progress(f"growing trees on {taught} cases, {config.folds} folds")
    fitted, more = _fitted(material, rrf, config, context.seed)
    report |= more
    if fitted is None:
        return _told(replace(alone, report=report), context)
    return _told(replace(alone, trees=fitted, report=report), context)


def _told(fusion: LambdaMart, context: FitContext) -> LambdaMart:
    context.progress(f"{fusion.name}: {fusion.summary}")
    return fusion


def _material(
    context: FitContext, rrf: ReciprocalRankFusion, config: LambdaMartConfig, simulated: tuple[Simulated, ...]
) -> _Material:
    candidates, cases = context.candidates, context.validation
    assert candidates is not None
    assert cases is not None
    features = Features.of(candidates, context.train)
    always = _always([candidates], [cases.targets], config.evidence)
    trees = Trees(features, "", None, always, new=_new_items(simulated, config))
    fold = np.random.default_rng(context.seed).permutation(len(cases)) % config.folds
    fused = rrf.fuse(cases.queries, candidates)
    sheets = [make_sheet(trees, cases, candidates, fused, config, fold)]
    if trees.new is not None:
        total = sum(float(part.weights.sum()) for part in simulated)
        for part in simulated:
            blind = replace(trees, features=features.forgetting(part.forgotten))
            fused, weights = rrf.fuse(part.cases.queries, part.candidates), part.weights / total
            weights *= SIMULATED_WEIGHT * len(cases)
            sheets.append(make_sheet(blind, part.cases, part.candidates, fused, config, fold[part.rows], weights))
    return _Material(trees, tuple(sheets), simulated if trees.new is not None else ())


def _new_items(simulated: Sequence[Simulated], config: LambdaMartConfig) -> NewItems | None:
    """What new items must have for the trees to judge them; None where too few new targets are there to learn from."""
    sought = [is_target(part.candidates, part.cases.targets) & part.is_new[:, None] for part in simulated]
    if sum(int(found.sum()) for found in sought) < MIN_NEW:
        return None
    candidates = [part.candidates for part in simulated]
    targets = [np.where(part.is_new, part.cases.targets, -2).astype(np.int32) for part in simulated]
    return NewItems(_always(candidates, targets, config.evidence))


def _always(candidates: Sequence[Candidates], targets: Sequence[Int32Array], share: float) -> tuple[str, ...]:
    """Columns without evidence on less than this share of the targets: what that means could not be learned."""
    wanted = [is_target(part, sought) for part, sought in zip(candidates, targets, strict=True)]
    found = sum(int(one.sum()) for one in wanted)

    def missing(name: str) -> int:
        return sum(int(np.isnan(p.columns[name][w]).sum()) for p, w in zip(candidates, wanted, strict=True))

    return tuple(name for name in candidates[0].columns if missing(name) < share * found)


def _fitted(
    material: _Material, rrf: ReciprocalRankFusion, config: LambdaMartConfig, seed: int
) -> tuple[Trees | None, dict[str, Any]]:
    """Judge the trees on users they were not grown on; the trees to keep, if any, and what was found."""
    trees, sheets = material.trees, material.sheets
    count, scores = cross_validated(sheets, trees.features.names, config, seed)
    new, report = _lifted(material, scores, rrf, config)
    sheet = sheets[0]
    placed = _placed(sheet, scores[0], new)
    found = {name: _places(sheet, scores) for name, scores in (("trees", placed), ("rrf", sheet.fused))}
    found |= {name: _column_places(sheet, column) for name, column in sheet.candidates.columns.items()}
    gains = {name: ndcg(one) for name, one in found.items()}
    best = max(sheet.candidates.columns, key=lambda name: float(gains[name].mean()))
    report |= {
        "trees": count,
        f"NDCG@{CUT}": {name: float(gains[name].mean()) for name in ("trees", "rrf", best)},
        "quality": {name: _quality(one) for name, one in found.items()},
    }
    if reason := _not_better({name: gains[name] for name in ("trees", "rrf", best)}, config.caution):
        return None, {**report, "fallback": reason}
    kept, shares = _kept(replace(trees, new=new), sheets, config, count, seed)
    return kept, {**report, "gain": [[name, share] for name, share in shares.items()]}


def _places(sheet: Sheet, scores: Float32Array) -> Float64Array:
    """Float64[n], the place of each case's target by Float32[n, k] scores."""
    return places(np.where(sheet.there, scores, -np.inf), is_target(sheet.candidates, sheet.targets))


def _column_places(sheet: Sheet, column: Float32Array) -> Float64Array:
    """The same by one column, that has no evidence on some."""
    ranks = column_ranks(column)
    return _places(sheet, np.where(ranks > 0, -ranks.astype(np.float32), np.float32(-np.inf)))


def _quality(found: Float64Array) -> dict[str, list[float]]:
    """Means and standard errors, of the places of all targets."""
    measured = {f"NDCG@{CUT}": ndcg(found), f"Recall@{CUT}": recall(found, CUT)}
    measured[f"Recall@{DEEP_CUT}"] = recall(found, DEEP_CUT)
    return {name: mean_and_error(values) for name, values in measured.items()}


def _lifted(
    material: _Material, scores: Sequence[Float32Array], rrf: ReciprocalRankFusion, config: LambdaMartConfig
) -> tuple[NewItems | None, dict[str, Any]]:
    """Find the lift that finds most new targets at no more than the allowed cost, on users left out.

    Returns:
        What the trees make of new items; None where that finds no more of them than the places that weighted RRF gives
        them. And what was measured.
    """
    new, sheets, simulated = material.trees.new, material.sheets[1:], material.simulated
    if new is None:
        return None, {}
    spread = float(scores[0][material.sheets[0].learned].std())

    def gains(lift: NewItems | None) -> tuple[float, float]:
        placed = [_placed(sheet, one, lift) for sheet, one in zip(sheets, scores[1:], strict=True)]
        return split_gains(simulated, placed)

    last = [np.where(s.known, _placed(s, one, None), -np.inf) for s, one in zip(sheets, scores[1:], strict=True)]
    without, as_rrf = split_gains(simulated, last)[1], gains(None)
    allowed = (1 - config.rrf.new_item_cost) * without
    tried = {lift: gains(replace(new, lift=lift * spread)) for lift in LIFTS}
    best = _best_lift(tried, allowed)
    report: dict[str, Any] = {"cases": sum(len(part.rows) for part in simulated), "new items last": [0.0, without]}
    report["placed by rrf"] = list(as_rrf)
    if best is not None:
        report |= {"lift": best, "placed by trees": list(tried[best])}
    for cost in COSTS:  # what another allowance would have given
        other = _best_lift(tried, (1 - cost) * without)
        report[f"at a cost of {cost:g}"] = None if other is None else list(tried[other])
    known = {f"new items, NDCG@{CUT} on new and other targets": report}
    if best is None or (as_rrf[1] >= allowed and as_rrf[0] >= tried[best][0]):
        return None, known
    return replace(new, lift=best * spread), known


def _best_lift(tried: Mapping[float, tuple[float, float]], allowed: float) -> float | None:
    """The lowest lift that finds most new targets of those that keep others where they are allowed to be, or None."""
    within = [lift for lift, gains in tried.items() if gains[1] >= allowed]
    return max(within, key=lambda lift: tried[lift][0], default=None)


def _placed(sheet: Sheet, scores: Float32Array, new: NewItems | None) -> Float32Array:
    """The scores of all candidates, Float32[n, k]; without `new`, new items have the places weighted RRF gives them."""
    laid, judged = sheet.spread(scores, 0), sheet.judged
    if new is None:
        judged = judged & sheet.known
    else:
        laid = np.where(judged & ~sheet.known, laid + np.float32(new.lift), laid)
    return place(sheet.fused, laid, judged, sheet.known, sheet.there)


def _kept(
    trees: Trees, sheets: Sequence[Sheet], config: LambdaMartConfig, count: int, seed: int
) -> tuple[Trees, dict[str, float]]:
    """Grow the trees that are kept, on all cases; and say what they gain from."""
    features = trees.features
    booster = grown(sheets, features.names, config, count, seed)
    gains = _gains(booster, features)
    unused = tuple(c for c in features.columns if not any(name.startswith(f"{c}:") for name in gains))
    text = text_of(booster)
    # read back: what serves now is to the last bit what a bundle will bring back
    return replace(trees, text=text, booster=LoadedTrees(text), unused=unused), gains


def _not_better(found: dict[str, Float64Array], caution: float) -> str:
    """Say what the trees are not surely better than; "" if there is nothing."""
    for name, values in found.items():
        gain = found["trees"] - values
        error = mean_and_error(gain)[1]
        if name != "trees" and gain.mean() <= caution * error:
            return f"for users out of fold, NDCG@{CUT} is {gain.mean():+.4f} +- {error:.4f} over {name}"
    return ""


def _gains(booster: Any, features: Features) -> dict[str, float]:
    """Share of the gain of each feature that any tree looks at, largest first."""
    gains = booster.feature_importance(importance_type="gain")
    order = np.argsort(-gains, kind="stable")
    return {features.names[i]: float(gains[i] / gains.sum()) for i in order if gains[i] > 0}


COMPONENT = Component("fusion", LambdaMartConfig, fit_lambdamart, load_lambdamart, requires=("lightgbm",), extra="rank")
