"""Weighted fusion of reciprocal ranks, or of scores; the weights are set by hand or tuned on validation cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from llmrec.component import Component, ComponentConfig, FitContext, Simulated
from llmrec.data import Catalog
from llmrec.errors import ConfigError
from llmrec.fuse._quality import is_target, places
from llmrec.fuse.base import column_ranks
from llmrec.fuse.lift import Lift, fit_lift
from llmrec.fuse.likelihood import fit_weights
from llmrec.models import in_threads
from llmrec.retrieve.reading import thread_blocks
from llmrec.types import BoolArray, Candidates, Float32Array, Int32Array, Int64Array, Queries, State

__all__ = ["COMPONENT", "ReciprocalRankFusion", "RrfConfig", "fit_rrf"]

CASES = 5_000
"""Enough to tune a handful of weights: more change no digit that counts."""
LEAST = np.float32(1e-3)
"""What a column says by "min-max" of the worst candidate: more than of one that it knows nothing of."""
KNOWN = np.float32(1e-3)
"""How far a score counts that no tuned column supports, of an item that is not new: enough to keep the order."""
Weights = Mapping[str, float]


class RrfConfig(ComponentConfig):
    """Settings of reciprocal rank fusion.

    Attributes:
        norm: what a column says of a candidate. "rank": 1 / (constant + rank). "min-max": its score's place between the
            worst (next to 0) and the best (1) of the query's candidates, which makes the sum CombSUM (Fox and Shaw,
            "Combination of multiple searches", TREC-2, 1994): how far apart scores are counts, not their order alone.
        constant: added to every rank; small values trust the top of each list more.
        tune: whether weights are tuned on validation cases; false, or without any cases: all columns count alike.
        weights: weight of each column, set by hand; then nothing is tuned.
        wish_columns: columns that understand a free-text wish; none: those of the stage's text retrievers.
        new_item_share: how far a score counts that none of the tuned columns supports, as that of a new item: 1 puts
            the item a text retriever ranks first beside the item that everything ranks first; 0 puts it last. A wish
            asks for text, so there it is 1. Tuned where new items can be simulated, see `fit_lift`; then it holds for
            them alone.
        new_item_cases: at most so many tuning cases are asked again as if some items were new, to tune for new items;
            0: not tuned.
        new_item_cost: the share of the NDCG@10 on known targets that showing new items may cost, where a tenth of the
            items is new.
        wish_share: share of the weight these have when a query carries a wish.
    """

    norm: Literal["rank", "min-max"] = "rank"
    constant: float = Field(default=20.0, ge=0)
    tune: bool = True
    weights: dict[str, float] | None = None
    wish_columns: tuple[str, ...] | None = None
    new_item_share: float = Field(default=0.8, ge=0, le=1)
    new_item_cases: int = Field(default=4_000, ge=0)
    new_item_cost: float = Field(default=0.02, ge=0, le=1)
    wish_share: float = Field(default=0.8, ge=0, le=1)


@dataclass(frozen=True, slots=True)
class ReciprocalRankFusion:
    """Scores a candidate by the weighted sum of 1 / (constant + rank) over score columns; or of scores, see `norm`.

    Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
    Methods", SIGIR 2009. Where a column has no evidence on a new item, the other columns speak for it: the sum is
    divided by the share of the weight that did have evidence, and counts a little less, down to `lift.share` where that
    share is nothing. Of an item that is not new, a column without evidence says that nothing speaks for it. Where it
    was not learned which items are new, all without evidence count as if they were, down to `config.new_item_share`.

    Attributes:
        name: the fusion's name in this pipeline.
        config: its settings.
        weights: weight of each column, >= 0; a column of weight 0 is heard only where no other has evidence.
        wish_columns: columns that understand a free-text wish.
        lift: what was learned of new items; None: nothing.
    """

    component: ClassVar[str] = "rrf"
    name: str
    config: RrfConfig
    weights: Weights
    wish_columns: tuple[str, ...] = ()
    lift: Lift | None = None

    def fuse(self, queries: Queries, candidates: Candidates) -> Float32Array:
        """Return Float32[n, k]: the fused scores, finite everywhere, 0 where no column has evidence."""
        fused, wishes = np.empty(candidates.items.shape, dtype=np.float32), queries.wishes

        def fuse(rows: Int64Array) -> None:
            fused[rows] = self._fuse_some(candidates.take(rows), wishes[rows])

        in_threads(fuse, thread_blocks(len(candidates), 4 * candidates.items.shape[1] * max(1, len(self.weights))))
        return fused

    def _fuse_some(self, candidates: Candidates, wishes: BoolArray) -> Float32Array:
        # only a column that is ignored may be missing
        there = [name for name, weight in self.weights.items() if weight > 0 or name in candidates.columns]
        values = {name: _values(candidates.columns[name], self.config) for name in there}
        shares: float | Float32Array = self.config.new_item_share
        if self.lift is not None:
            shares = np.where(self.lift.is_new(candidates), np.float32(self.lift.share), KNOWN)
        fused = _fuse(values, self.weights, shares)
        if wishes.any() and any(name in self.weights for name in self.wish_columns):
            values = {name: value[wishes] for name, value in values.items()}
            # text was asked for: that a model knows nothing else of an item does not count against it
            fused[wishes] = _fuse(values, self._wish_weights(), 1.0)
        return fused

    def ignores(self, queries: Queries, candidates: Candidates) -> frozenset[str]:
        """Name the columns of weight 0, once every candidate has evidence in another and no query has a wish."""
        evidence = candidates.items < 0
        for name, column in candidates.columns.items():
            if self.weights.get(name, 0) > 0:
                evidence = evidence | ~np.isnan(column)
        if queries.wishes.any() or not evidence.all():
            return frozenset()
        needed = () if self.lift is None else self.lift.blind
        return frozenset(name for name, weight in self.weights.items() if weight <= 0 and name not in needed)

    def forgetting(self, items: BoolArray) -> Self:
        """Return the fusion as it is: it knows no items."""
        return self

    def state(self) -> State:
        """Return the weights and settings."""
        return State(
            {
                "settings": self.config.model_dump(mode="json"),
                "weights": dict(self.weights),
                "wish_columns": list(self.wish_columns),
                "lift": None if self.lift is None else asdict(self.lift),
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


def _values(column: Float32Array, config: RrfConfig) -> Float32Array:
    """What a column says, Float32[n, k]: higher is better, at most 1; NaN where it has no evidence."""
    nothing = np.float32(np.nan)
    if config.norm == "rank":
        ranks = column_ranks(column)
        places = np.float32(config.constant) + np.arange(1, column.shape[1] + 1, dtype=np.float32)
        return np.concatenate([np.full(1, nothing), np.float32(1) / places])[ranks]
    column = np.where(np.isfinite(column), column, nothing)
    best = np.fmax.reduce(column, axis=1, keepdims=True, initial=nothing)  # of what is not NaN
    worst = np.fmin.reduce(column, axis=1, keepdims=True, initial=nothing)
    alike = best == worst
    shares = (column - worst) / np.where(alike, np.float32(1), best - worst)
    return np.asarray(LEAST + (np.float32(1) - LEAST) * np.where(alike, column - worst + np.float32(1), shares))


def _fuse(values: Mapping[str, Float32Array], weights: Weights, new_item_share: float | Float32Array) -> Float32Array:
    """Fuse the columns that have a weight; the others speak only where none of those has evidence."""
    weights = {name: weight for name, weight in weights.items() if name in values}
    heard = {name: weight for name, weight in weights.items() if weight > 0}
    unheard = {name: 1.0 for name in weights if name not in heard}
    total = np.float32(sum(w for _, w in sorted(heard.items())))
    fused, evidence = _mean(values, heard)
    alone, _ = _mean(values, unheard)
    fused = np.where(evidence > 0, fused, alone)
    share = np.asarray(new_item_share, dtype=np.float32)
    counted: Float32Array = fused * total * (share + (1 - share) * np.minimum(evidence / total, 1))
    return counted


def _mean(values: Mapping[str, Float32Array], weights: Weights) -> tuple[Float32Array, Float32Array]:
    """The weighted mean over the columns with evidence, and the weight that had any."""
    # Not float64: this runs over all users x candidates, and ranks need no more digits.
    shape = next(iter(values.values())).shape
    total, evidence = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for name, weight in sorted(weights.items()):  # sums of floats depend on the order, scores must not
        value = values[name]
        known = ~np.isnan(value)
        total += np.where(known, value, 0) * np.float32(weight)
        evidence += known * np.float32(weight)
    mean = np.divide(total, evidence, out=np.zeros(shape, np.float32), where=evidence > 0)
    return mean, evidence


def fit_rrf(
    candidates: Candidates, targets: Int32Array, config: RrfConfig, *, name: str = "rrf"
) -> ReciprocalRankFusion:
    """Tune the weights on validation targets: by maximum likelihood, see `fit_weights`.

    Where the best single column ranks these very targets better (by the mean of 1 / log2(rank + 1)), it stands alone.

    Args:
        candidates: the columns, one row per validation case; models behind them have not seen the targets.
        targets: Int32[n], catalog rows; of many, some are drawn evenly.
        config: its settings; `config.weights` is ignored.
        name: the fusion's name.
    """
    alike = ReciprocalRankFusion(name, config, dict.fromkeys(candidates.columns, 1.0))
    if len(targets) == 0:
        return alike
    rows = np.unique(np.linspace(0, len(targets) - 1, min(CASES, len(targets))).astype(np.int64))
    there = candidates.items[rows] >= 0
    wanted = is_target(candidates, targets)[rows]
    said = {n: _values(c[rows], config) for n, c in candidates.columns.items()}
    top = np.float32(config.constant + 1 if config.norm == "rank" else 1)  # the first of a list says 1
    weights = fit_weights({n: np.nan_to_num(v * top, nan=0.0) for n, v in said.items()}, wanted, there)

    def quality(tried: Weights) -> float:
        fused = np.where(there, _fuse(said, tried, config.new_item_share), -np.inf)
        return float((1 / np.log2(places(fused, wanted) + 1)).mean())

    single = {n: quality({m: float(m == n) for m in said}) for n in said}
    lead = max(single, key=lambda n: single[n])
    if single[lead] > quality(weights):
        weights = {n: float(n == lead) for n in said}
    return replace(alike, weights=weights)


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
    fusion = ReciprocalRankFusion(context.name, config, weights, wish_columns)
    return _lifted(fusion, context.simulate(config.new_item_cases))


def _lifted(fusion: ReciprocalRankFusion, simulated: Sequence[Simulated]) -> ReciprocalRankFusion:
    """Learn what to make of new items, where any could be simulated."""

    def fuse(part: Simulated, lift: Lift) -> Float32Array:
        return replace(fusion, lift=lift).fuse(part.cases.queries, part.candidates)

    return replace(fusion, lift=fit_lift(fuse, simulated, fusion.config.new_item_cost))


def _check_columns(weights: Weights, candidates: Candidates) -> None:
    unknown = sorted(set(weights) - set(candidates.columns))
    if unknown or any(w < 0 for w in weights.values()) or not any(weights.values()):
        known = ", ".join(candidates.columns)
        raise ConfigError(
            f"rrf weights {dict(weights)}: each must be >= 0, one > 0, and name a column of the stage: {known}"
        )


def _load(name: str, state: State, catalog: Catalog) -> ReciprocalRankFusion:
    saved = state.config
    known = RrfConfig.model_fields  # bundles of older versions have settings that are no more
    config = RrfConfig.model_validate({key: value for key, value in saved["settings"].items() if key in known})
    return ReciprocalRankFusion(
        name, config, saved["weights"], tuple(saved["wish_columns"]), Lift.from_dict(saved.get("lift"))
    )


COMPONENT = Component("fusion", RrfConfig, _fit, _load)
