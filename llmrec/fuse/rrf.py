"""Weighted reciprocal rank fusion; the weights are set by hand or tuned on validation cases."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from llmrec.component import Component, ComponentConfig, FitContext
from llmrec.data import Catalog
from llmrec.errors import ConfigError
from llmrec.fuse.base import column_ranks
from llmrec.types import BoolArray, Candidates, Float32Array, Int32Array, Queries, State

__all__ = ["COMPONENT", "ReciprocalRankFusion", "RrfConfig", "fit_rrf"]

Weights = Mapping[str, float]


class RrfConfig(ComponentConfig):
    """Settings of reciprocal rank fusion.

    Attributes:
        constant: added to every rank; small values trust the top of each list more.
        weights: weight of each column; none: tuned on validation cases, or all alike without any.
        grid: the weights that tuning tries for each column, beside a leading column at 1.
        wish_columns: columns that understand a free-text wish.
        wish_share: share of the weight these have when a query carries a wish.
    """

    constant: float = Field(default=60.0, ge=0)
    weights: dict[str, float] | None = None
    grid: tuple[float, ...] = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
    wish_columns: tuple[str, ...] = ("dense",)
    wish_share: float = Field(default=0.8, ge=0, le=1)


@dataclass(frozen=True, slots=True)
class ReciprocalRankFusion:
    """Scores a candidate by the weighted sum of 1 / (constant + rank) over score columns.

    Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
    Methods", SIGIR 2009. Where a column has no evidence on a candidate (a new item, to a collaborative model),
    the other columns speak for it: the sum is divided by the share of the weight that did have evidence.

    Attributes:
        name: the fusion's name in this pipeline.
        config: its settings.
        weights: weight of each column, >= 0.
    """

    component: ClassVar[str] = "rrf"
    name: str
    config: RrfConfig
    weights: Weights

    def fuse(self, queries: Queries, candidates: Candidates) -> Float32Array:
        """Return Float32[n, k]: the fused scores, finite everywhere, 0 where no column has evidence."""
        ranks = {name: column_ranks(candidates.columns[name]) for name in self.weights}
        fused = _fuse(ranks, self.weights, self.config.constant)
        wishes = queries.wishes
        if wishes.any() and any(name in self.weights for name in self.config.wish_columns):
            ranks = {name: rank[wishes] for name, rank in ranks.items()}
            fused[wishes] = _fuse(ranks, self._wish_weights(), self.config.constant)
        return fused

    def state(self) -> State:
        """Return the weights and settings."""
        return State({"settings": self.config.model_dump(mode="json"), "weights": dict(self.weights)})

    def _wish_weights(self) -> Weights:
        """Give the wish columns their share of the weight; within each group the proportions stay."""
        share = self.config.wish_share
        groups = [
            (share, [n for n in self.weights if n in self.config.wish_columns]),
            (1 - share, [n for n in self.weights if n not in self.config.wish_columns]),
        ]
        shared: dict[str, float] = {}
        for total, names in groups:
            weight = sum(self.weights[n] for n in names)
            shared |= {n: total * (self.weights[n] / weight if weight > 0 else 1 / len(names)) for n in names}
        return shared


def _fuse(ranks: Mapping[str, Int32Array], weights: Weights, constant: float) -> Float32Array:
    # Not float64: this runs over all users x candidates, and ranks need no more digits.
    shape = next(iter(ranks.values())).shape
    total, evidence = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for name, weight in sorted(weights.items()):  # sums of floats depend on the order, scores must not
        if weight <= 0:
            continue
        rank = ranks[name]
        total += np.where(rank > 0, np.float32(weight) / (np.float32(constant) + rank), np.float32(0))
        evidence += np.where(rank > 0, np.float32(weight), np.float32(0))
    scale = np.float32(sum(w for _, w in sorted(weights.items()) if w > 0))
    fused: Float32Array = np.divide(total * scale, evidence, out=np.zeros(shape, np.float32), where=evidence > 0)
    return fused


def fit_rrf(
    candidates: Candidates, targets: Int32Array, config: RrfConfig, *, name: str = "rrf"
) -> ReciprocalRankFusion:
    """Tune the weights on NDCG@10 of the validation targets, two columns at a time.

    The search starts from the single best column at weight 1 and the others at 0, and a weight changes only
    where that raises NDCG@10: a source that does not help stays out.

    Args:
        candidates: the columns, one row per validation case; models behind them have not seen the targets.
        targets: Int32[n], catalog rows.
        config: its settings; `config.weights` is ignored.
        name: the fusion's name.
    """
    names = list(candidates.columns)
    if len(targets) == 0:
        return ReciprocalRankFusion(name, config, dict.fromkeys(names, 1.0))
    is_target = candidates.items == targets[:, None]
    ranks = {n: column_ranks(candidates.columns[n]) for n in names}

    def quality(weights: Weights) -> float:
        return _ndcg(_fuse(ranks, weights, config.constant), is_target, candidates.items >= 0)

    single = {n: quality({m: float(m == n) for m in names}) for n in names}
    lead = max(single, key=lambda n: single[n])
    weights, best = {n: float(n == lead) for n in names}, single[lead]
    others = [n for n in names if n != lead]
    pairs = list(itertools.combinations(others, 2)) or [(n, n) for n in others]
    for _, pair in itertools.product(range(2), pairs):
        for values in itertools.product(config.grid, repeat=len(set(pair))):
            trial = {**weights, **dict(zip(pair, values, strict=False))}
            if (found := quality(trial)) > best:
                best, weights = found, trial
    return ReciprocalRankFusion(name, config, weights)


def _ndcg(fused: Float32Array, is_target: BoolArray, valid: BoolArray, k: int = 10) -> float:
    """NDCG@k of one target per row; a tie with the target counts half."""
    score = np.where(is_target, fused, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    above = ((fused > score) & valid).sum(axis=1)
    level = ((fused == score) & valid).sum(axis=1)
    rank: NDArray[np.float64] = above + (level - 1) / 2 + 1
    return float(np.mean(np.where((rank <= k) & is_target.any(axis=1), 1 / np.log2(rank + 1), 0.0)))


def _fit(context: FitContext, config: RrfConfig) -> ReciprocalRankFusion:
    candidates, cases = context.candidates, context.validation
    if candidates is None:
        raise ValueError("a fusion is fitted on candidates")
    if config.weights is not None:
        _check_columns(config.weights, candidates)
        return ReciprocalRankFusion(context.name, config, config.weights)
    if cases is None:
        return ReciprocalRankFusion(context.name, config, dict.fromkeys(candidates.columns, 1.0))
    return fit_rrf(candidates, cases.targets, config, name=context.name)


def _check_columns(weights: Weights, candidates: Candidates) -> None:
    unknown = sorted(set(weights) - set(candidates.columns))
    if unknown or any(w < 0 for w in weights.values()) or not any(weights.values()):
        known = ", ".join(candidates.columns)
        raise ConfigError(
            f"rrf weights {dict(weights)}: each must be >= 0, one > 0, and name a column of the stage: {known}"
        )


def _load(name: str, state: State, catalog: Catalog) -> ReciprocalRankFusion:
    return ReciprocalRankFusion(name, RrfConfig.model_validate(state.config["settings"]), state.config["weights"])


COMPONENT = Component("fusion", RrfConfig, _fit, _load)
