"""Weighted reciprocal rank fusion; the weights are set by hand or tuned on validation cases."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from llmrec.component import Component, ComponentConfig, FitContext
from llmrec.data import Catalog
from llmrec.errors import ConfigError
from llmrec.fuse.base import column_ranks
from llmrec.types import BoolArray, Candidates, Float32Array, Int32Array, Int64Array, Queries, State

__all__ = ["COMPONENT", "ReciprocalRankFusion", "RrfConfig", "fit_rrf"]

CACHED_CELLS = 2**15
"""Candidates that tuning looks at in one go."""
Float64Array = NDArray[np.float64]
Weights = Mapping[str, float]


class RrfConfig(ComponentConfig):
    """Settings of reciprocal rank fusion.

    Attributes:
        constant: added to every rank; small values trust the top of each list more.
        tune: whether weights are tuned on validation cases; false, or without any cases: all columns count alike.
        weights: weight of each column, set by hand; then nothing is tuned.
        grid: the weights that tuning tries for each column, beside a leading column at 1.
        caution: how many standard errors of its gain a weight must be worth; see `fit_rrf`.
        wish_columns: columns that understand a free-text wish; none: those of the stage's text retrievers.
        new_item_share: how far a score counts that none of the tuned columns supports, as that of a new item: 1 puts
            the item a text retriever ranks first beside the item that everything ranks first; 0 puts it last. A wish
            asks for text, so there it is 1.
        wish_share: share of the weight these have when a query carries a wish.
    """

    constant: float = Field(default=60.0, ge=0)
    tune: bool = True
    weights: dict[str, float] | None = None
    grid: tuple[Annotated[float, Field(ge=0)], ...] = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
    caution: float = Field(default=2.0, ge=0)
    wish_columns: tuple[str, ...] | None = None
    new_item_share: float = Field(default=0.9, ge=0, le=1)
    wish_share: float = Field(default=0.8, ge=0, le=1)


@dataclass(frozen=True, slots=True)
class ReciprocalRankFusion:
    """Scores a candidate by the weighted sum of 1 / (constant + rank) over score columns.

    Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
    Methods", SIGIR 2009. Where a column has no evidence on a candidate (a new item, to a collaborative model),
    the other columns speak for it: the sum is divided by the share of the weight that did have evidence, and
    counts a little less, down to `config.new_item_share` where that share is nothing.

    Attributes:
        name: the fusion's name in this pipeline.
        config: its settings.
        weights: weight of each column, >= 0; a column of weight 0 is heard only where no other has evidence.
        wish_columns: columns that understand a free-text wish.
    """

    component: ClassVar[str] = "rrf"
    name: str
    config: RrfConfig
    weights: Weights
    wish_columns: tuple[str, ...] = ()

    def fuse(self, queries: Queries, candidates: Candidates) -> Float32Array:
        """Return Float32[n, k]: the fused scores, finite everywhere, 0 where no column has evidence."""
        # only a column that is ignored may be missing
        there = [name for name, weight in self.weights.items() if weight > 0 or name in candidates.columns]
        ranks = {name: column_ranks(candidates.columns[name]) for name in there}
        fused = _fuse(ranks, self.weights, self.config.constant, self.config.new_item_share)
        wishes = queries.wishes
        if wishes.any() and any(name in self.weights for name in self.wish_columns):
            ranks = {name: rank[wishes] for name, rank in ranks.items()}
            # text was asked for: that a model knows nothing else of an item does not count against it
            fused[wishes] = _fuse(ranks, self._wish_weights(), self.config.constant, 1.0)
        return fused

    def ignores(self, queries: Queries, candidates: Candidates) -> frozenset[str]:
        """Name the columns of weight 0, once every candidate has evidence in another and no query has a wish."""
        evidence = candidates.items < 0
        for name, column in candidates.columns.items():
            if self.weights.get(name, 0) > 0:
                evidence = evidence | ~np.isnan(column)
        if queries.wishes.any() or not evidence.all():
            return frozenset()
        return frozenset(name for name, weight in self.weights.items() if weight <= 0)

    def state(self) -> State:
        """Return the weights and settings."""
        return State(
            {
                "settings": self.config.model_dump(mode="json"),
                "weights": dict(self.weights),
                "wish_columns": list(self.wish_columns),
            }
        )

    def _wish_weights(self) -> Weights:
        """Give the wish columns their share of the weight; within each group the proportions stay."""
        readers = [n for n in self.weights if n in self.wish_columns]
        others = [n for n in self.weights if n not in self.wish_columns]
        share = self.config.wish_share if others else 1.0
        groups = [(share, readers), (1 - share, others)]
        shared: dict[str, float] = {}
        for total, names in groups:
            weight = sum(self.weights[n] for n in names)
            shared |= {n: total * (self.weights[n] / weight if weight > 0 else 1 / len(names)) for n in names}
        return shared


def _fuse(ranks: Mapping[str, Int32Array], weights: Weights, constant: float, new_item_share: float) -> Float32Array:
    """Fuse the columns that have a weight; the others speak only where none of those has evidence."""
    weights = {name: weight for name, weight in weights.items() if name in ranks}
    heard = {name: weight for name, weight in weights.items() if weight > 0}
    unheard = {name: 1.0 for name in weights if name not in heard}
    total = np.float32(sum(w for _, w in sorted(heard.items())))
    fused, evidence = _mean_reciprocal(ranks, heard, constant)
    alone, _ = _mean_reciprocal(ranks, unheard, constant)
    fused = np.where(evidence > 0, fused, alone)
    share = np.float32(new_item_share)
    counted: Float32Array = fused * total * (share + (1 - share) * np.minimum(evidence / total, 1))
    return counted


def _mean_reciprocal(
    ranks: Mapping[str, Int32Array], weights: Weights, constant: float
) -> tuple[Float32Array, Float32Array]:
    """The weighted mean of 1 / (constant + rank) over the columns with evidence, and the weight that had any."""
    # Not float64: this runs over all users x candidates, and ranks need no more digits.
    shape = next(iter(ranks.values())).shape
    total, evidence = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    places = np.float32(constant) + np.arange(1, shape[1] + 1, dtype=np.float32)
    for name, weight in sorted(weights.items()):  # sums of floats depend on the order, scores must not
        rank = ranks[name]
        total += np.concatenate([np.zeros(1, np.float32), np.float32(weight) / places])[rank]
        evidence += (rank > 0) * np.float32(weight)
    mean = np.divide(total, evidence, out=np.zeros(shape, np.float32), where=evidence > 0)
    return mean, evidence


def fit_rrf(
    candidates: Candidates, targets: Int32Array, config: RrfConfig, *, name: str = "rrf"
) -> ReciprocalRankFusion:
    """Tune the weights on validation targets, two columns at a time.

    The search starts from the single best column at weight 1 and the others at 0. What counts is the gain in NDCG
    (over the whole list, so that every case has a say) over that column alone, less `config.caution` standard
    errors of the gain: a source whose help cannot be told from noise stays out.

    Args:
        candidates: the columns, one row per validation case; models behind them have not seen the targets.
        targets: Int32[n], catalog rows.
        config: its settings; `config.weights` is ignored.
        name: the fusion's name.
    """
    names = list(candidates.columns)
    if len(targets) == 0:
        return ReciprocalRankFusion(name, config, dict.fromkeys(names, 1.0))
    ranks = {n: column_ranks(candidates.columns[n]) for n in names}
    parts = _parts(ranks, candidates.items, targets)

    def quality(weights: Weights) -> Float64Array:
        found = np.zeros(len(targets))
        for rows, columns, is_target, valid in parts:
            fused = _fuse(columns, weights, config.constant, config.new_item_share)
            found[rows] = _ndcg(fused, is_target, valid)
        return found

    single = {n: quality({m: float(m == n) for m in names}) for n in names}
    lead = max(single, key=lambda n: float(single[n].mean()))
    weights, best = {n: float(n == lead) for n in names}, 0.0
    others = [n for n in names if n != lead]
    pairs = list(itertools.combinations(others, 2)) or [(n, n) for n in others]
    for _, pair in itertools.product(range(2), pairs):
        for values in itertools.product(config.grid, repeat=len(set(pair))):
            trial = {**weights, **dict(zip(pair, values, strict=False))}
            if (found := _lower_bound(quality(trial) - single[lead], config.caution)) > best:
                best, weights = found, trial
    return ReciprocalRankFusion(name, config, weights)


def _parts(
    ranks: Mapping[str, Int32Array], items: Int32Array, targets: Int32Array
) -> list[tuple[Int64Array, dict[str, Int32Array], BoolArray, BoolArray]]:
    """Cut the cases into parts that stay in the processor's cache while hundreds of weights are tried on them.

    Returns:
        Of each part the case numbers, the ranks, and where targets and candidates are; cases whose target is not among
        the candidates are in none, since no weights change that.
    """
    with_target = np.flatnonzero((items == targets[:, None]).any(axis=1)).astype(np.int64)
    size = max(1, CACHED_CELLS // max(1, items.shape[1]))
    parts = []
    for start in range(0, len(with_target), size):
        rows = with_target[start : start + size]
        columns = {name: rank[rows] for name, rank in ranks.items()}
        parts.append((rows, columns, items[rows] == targets[rows, None], items[rows] >= 0))
    return parts


def _lower_bound(gain: Float64Array, caution: float) -> float:
    """The mean gain less `caution` standard errors; no gain at all where one case cannot tell."""
    if len(gain) < 2:
        return 0.0
    return float(gain.mean() - caution * gain.std(ddof=1) / np.sqrt(len(gain)))


def _ndcg(fused: Float32Array, is_target: BoolArray, valid: BoolArray) -> Float64Array:
    """NDCG of one target per row, Float64[n]; a tie with the target counts half."""
    score = np.where(is_target, fused, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    above = ((fused > score) & valid).sum(axis=1)
    level = ((fused == score) & valid).sum(axis=1)
    rank: Float64Array = above + (level - 1) / 2 + 1
    found: Float64Array = np.where(is_target.any(axis=1), 1 / np.log2(np.maximum(rank, 1) + 1), 0.0)
    return found


def _fit(context: FitContext, config: RrfConfig) -> ReciprocalRankFusion:
    candidates, cases = context.candidates, context.validation
    if candidates is None:
        raise ValueError("a fusion is fitted on candidates")
    wish_columns = context.wish_columns if config.wish_columns is None else config.wish_columns
    if unknown := [name for name in config.wish_columns or () if name not in candidates.columns]:
        known = ", ".join(candidates.columns)
        raise ConfigError(
            f"{context.name}: wish_columns names {unknown[0]!r}, which is no column of the stage: {known}"
        )
    if config.weights is not None:
        _check_columns(config.weights, candidates)
        weights: Weights = config.weights
    elif cases is None or not config.tune:
        weights = dict.fromkeys(candidates.columns, 1.0)
    else:
        weights = fit_rrf(candidates, cases.targets, config, name=context.name).weights
    return ReciprocalRankFusion(context.name, config, weights, wish_columns)


def _check_columns(weights: Weights, candidates: Candidates) -> None:
    unknown = sorted(set(weights) - set(candidates.columns))
    if unknown or any(w < 0 for w in weights.values()) or not any(weights.values()):
        known = ", ".join(candidates.columns)
        raise ConfigError(
            f"rrf weights {dict(weights)}: each must be >= 0, one > 0, and name a column of the stage: {known}"
        )


def _load(name: str, state: State, catalog: Catalog) -> ReciprocalRankFusion:
    config = RrfConfig.model_validate(state.config["settings"])
    return ReciprocalRankFusion(name, config, state.config["weights"], tuple(state.config["wish_columns"]))


COMPONENT = Component("fusion", RrfConfig, _fit, _load)
