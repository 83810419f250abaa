"""How far new items may rise: learned from cases in which known items were treated as new."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from llmrec.component import Simulated
from llmrec.fuse._quality import CUT, is_target, ndcg, places
from llmrec.types import BoolArray, Candidates, Float32Array

__all__ = ["MIN_NEW", "Lift", "fit_lift", "new_targets", "split_gains"]

MIN_NEW = 50
"""With fewer simulated new targets, nothing is learned of new items."""
SHARES = (0.0, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.84, 0.88, 0.92, 0.96, 1.0)
"""What tuning tries."""


@dataclass(frozen=True, slots=True)
class Lift:
    """How far weighted RRF lets new items rise.

    Attributes:
        blind: the columns without evidence on new items; an item is new if none of these has any.
        share: how far the score of such an item counts.
        report: what that was measured at; JSON values.
    """

    blind: tuple[str, ...]
    share: float
    report: Mapping[str, Any] = field(default_factory=dict)

    def is_new(self, candidates: Candidates) -> BoolArray:
        """Bool[n, k]: True for new items; nowhere in a row in which the blind columns have no evidence at all."""
        known = np.zeros(candidates.items.shape, dtype=np.bool_)
        for name in self.blind:
            known |= ~np.isnan(candidates.columns[name])
        new: BoolArray = ~known & known.any(axis=1, keepdims=True) & (candidates.items >= 0)
        return new

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any] | None) -> Self | None:
        """Rebuild from `asdict`; None where nothing was learned, or before there was this."""
        return None if saved is None else cls(tuple(saved["blind"]), saved["share"], saved["report"])


def fit_lift(
    fuse: Callable[[Simulated, Lift], Float32Array], simulated: Sequence[Simulated], cost: float
) -> Lift | None:
    """Let new items rise to where most new targets are found at no more than the allowed cost.

    Args:
        fuse: weighted RRF with a lift, on cases asked as if some items were new.
        simulated: these cases.
        cost: the share of the NDCG@10 on the other targets that may be lost against lists with new items last.

    Returns:
        The lift; None where there are fewer than `MIN_NEW` new targets, or no column is blind to new items.
    """
    blind = _blind_columns(simulated)
    if new_targets(simulated) < MIN_NEW or not blind:
        return None
    last = split_gains(simulated, [_new_last(part, fuse(part, Lift(blind, 0.0))) for part in simulated])
    tried = {share: split_gains(simulated, [fuse(p, Lift(blind, share)) for p in simulated]) for share in SHARES}
    allowed = {share: gains for share, gains in tried.items() if gains[1] >= (1 - cost) * last[1]}
    best = max(allowed, key=lambda share: allowed[share][0], default=0.0)  # the lowest of equals
    report = {
        "cases": sum(len(part.rows) for part in simulated),
        f"NDCG@{CUT}, new targets": tried[best][0],
        f"NDCG@{CUT}, other targets": tried[best][1],
        f"NDCG@{CUT}, other targets, new items last": last[1],
    }
    return Lift(blind, best, report)


def new_targets(simulated: Sequence[Simulated]) -> int:
    """Count the cases with a new target."""
    return sum(int(part.is_new.sum()) for part in simulated)


def split_gains(simulated: Sequence[Simulated], scores: Sequence[NDArray[np.floating]]) -> tuple[float, float]:
    """NDCG@10 on new targets and on the others, each case as often as it stands for."""
    gains = []
    for part, one in zip(simulated, scores, strict=True):
        there = np.where(part.candidates.items >= 0, one, -np.inf)
        gains.append(ndcg(places(there, is_target(part.candidates, part.cases.targets))))
    new = np.concatenate([part.is_new for part in simulated])
    weights = np.concatenate([part.weights for part in simulated])
    every = np.concatenate(gains)
    return _mean(every, weights, new), _mean(every, weights, ~new)


def _mean(values: NDArray[np.float64], weights: NDArray[np.float64], rows: BoolArray) -> float:
    return float(np.average(values[rows], weights=weights[rows])) if rows.any() else 0.0


def _new_last(part: Simulated, fused: Float32Array) -> Float32Array:
    """The scores with those of new items taken away."""
    return np.where(_forgotten(part), np.float32(-np.inf), fused)


def _forgotten(part: Simulated) -> BoolArray:
    items = part.candidates.items
    return np.asarray((items >= 0) & part.forgotten[np.maximum(items, 0)])


def _blind_columns(simulated: Sequence[Simulated]) -> tuple[str, ...]:
    """Columns that have evidence, but on no new item."""
    names = simulated[0].candidates.columns if simulated else ()
    blind = []
    for name in names:
        seen = [~np.isnan(part.candidates.columns[name]) for part in simulated]
        on_new = any(bool((s & _forgotten(p)).any()) for s, p in zip(seen, simulated, strict=True))
        if not on_new and any(bool(s.any()) for s in seen):
            blind.append(name)
    return tuple(blind)
