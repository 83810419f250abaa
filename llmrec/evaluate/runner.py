"""Run a recommender over held-out users and judge what it returns.

Batches bound the memory: what is kept is one float per user and metric and one count per item and cut-off,
never a users x items array.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from llmrec.errors import ConfigError, DataError
from llmrec.evaluate.lists import ListMetric
from llmrec.evaluate.metrics import (
    ACCURACY,
    Float64Array,
    coverage_of,
    exposure,
    find_hits,
    find_members,
    first_occurrences,
    gini_of,
)
from llmrec.evaluate.protocol import ProtocolCard
from llmrec.evaluate.report import Report
from llmrec.evaluate.significance import bootstrap_interval
from llmrec.evaluate.unseen import check_honest
from llmrec.types import BoolArray, Csr, Float32Array, Int32Array, Int64Array, Queries, Ranking

if TYPE_CHECKING:
    from llmrec.data import Holdout

__all__ = ["Recommends", "evaluate", "evaluate_lists", "rank_targets", "rank_values"]

# Scores looked at in one go by rank_targets, so that its temporaries stay at some ten MB.
_CELLS = 2**21
# Lists judged at once.
_BATCH = 1024


class Recommends(Protocol):
    """Anything that answers a batch of queries with lists: a Recommender, or a peer in a wrapper."""

    def recommend(self, queries: Queries, k: int) -> Ranking:
        """Return the best `k` items for each query."""
        ...


def evaluate(
    recommender: Recommends,
    holdout: Holdout,
    *,
    k: Sequence[int] = (10,),
    n_items: int,
    batch_size: int = _BATCH,
    extra: Mapping[str, ListMetric] | None = None,
    protocol: ProtocolCard,
) -> Report:
    """Judge a recommender by where it puts what users took next.

    The result does not depend on the batch size, nor (but for the order of the values of single users) on the
    order of the users. A target that is not in the list is a miss; repeated items and pads count for nothing.

    Args:
        recommender: answers queries with lists of catalog rows; asked for as many items as the largest cut-off.
        holdout: n queries with one target each.
        k: cut-offs of the metrics.
        n_items: catalog size.
        batch_size: queries answered at once.
        extra: metrics of what lists are made of, by printed name, such as "Diversity"; see `ListMetric`.
        protocol: how the holdout was made; goes into the report.

    Returns:
        The metrics of `ACCURACY` and `extra` at each cut-off with 95% intervals over users; coverage and Gini, over
        the items that are ranked (`Queries.allow`).

    Raises:
        ConfigError: a cut-off or the batch size is out of range, or an extra metric has the name of another.
        LeakageError: a Recommender has seen the targets, as far as can be known; see `check_honest`.
        DataError: the holdout is empty or does not fit the card or the catalog, or the recommender returns
            something other than one list per query, an item outside the catalog or that is not ranked, or a
            history item although the card says that histories are excluded.
    """
    _check_holdout(holdout, n_items, protocol)
    check_honest(recommender, holdout, protocol)

    def answer(queries: Queries, rows: Int64Array, length: int) -> Int32Array:
        return np.asarray(recommender.recommend(queries, length).items)

    return _run(answer, holdout, _cutoffs(k, batch_size), batch_size, extra or {}, protocol)


def evaluate_lists(
    lists: Int32Array,
    holdout: Holdout,
    *,
    k: Sequence[int] = (10,),
    n_items: int,
    extra: Mapping[str, ListMetric] | None = None,
    protocol: ProtocolCard,
) -> Report:
    """Judge lists that were made elsewhere, exactly as `evaluate` judges a recommender's.

    Nothing can be known about what a peer was fitted on: that it has not seen the targets is its maker's promise.

    Args:
        lists: Int32[n, m], catalog rows in list order, -1 pads on the right; row i answers case i.
        holdout: n cases.
        k: cut-offs; places a list does not have are misses.
        n_items: catalog size.
        extra: see `evaluate`.
        protocol: see `evaluate`.

    Raises:
        ConfigError: as in `evaluate`.
        DataError: as in `evaluate`.
    """
    _check_holdout(holdout, n_items, protocol)
    if len(lists) != len(holdout):
        raise DataError(f"there must be one list per case: {len(lists)} lists, {len(holdout)} cases")

    def answer(queries: Queries, rows: Int64Array, length: int) -> Int32Array:
        return lists[rows, :length]

    return _run(answer, holdout, _cutoffs(k, _BATCH), _BATCH, extra or {}, protocol)


def _run(
    answer: Callable[[Queries, Int64Array, int], Int32Array],
    holdout: Holdout,
    cutoffs: list[int],
    batch_size: int,
    extra: Mapping[str, ListMetric],
    card: ProtocolCard,
) -> Report:
    """Judge batch by batch; `answer` gives the lists of some queries, which are these rows of the holdout."""
    if taken := sorted(set(extra) & set(ACCURACY)):
        raise ConfigError(f"extra metrics must have names of their own, not {', '.join(taken)}")
    n = len(holdout)
    values = {f"{name}@{cut}": np.empty(n) for cut in cutoffs for name in (*ACCURACY, *extra)}
    shown = {cut: np.zeros(card.n_items, dtype=np.int64) for cut in cutoffs}
    n_short = 0
    for start in range(0, n, batch_size):
        rows = np.arange(start, min(start + batch_size, n), dtype=np.int64)
        queries = holdout.queries.take(rows)
        lists = _checked_lists(answer(queries, rows, cutoffs[-1]), queries, start, card)
        for cut in cutoffs:
            shown[cut] += exposure(lists, card.n_items, cut)
            _judge(lists, holdout.targets[rows], cut, rows, values)
            for name, metric in extra.items():
                values[f"{name}@{cut}"][rows] = metric(lists, queries, cut)
        n_short += int((first_occurrences(lists[:, : cutoffs[-1]]).sum(axis=1) < cutoffs[-1]).sum())
    return Report(
        card=card,
        metrics={name: bootstrap_interval(per_user) for name, per_user in values.items()},
        values=values,
        totals=_totals(shown, holdout.queries.allow),
        exposure=shown,
        user_rows=np.asarray(holdout.user_rows, dtype=np.int64),
        n_short=n_short,
    )


def _cutoffs(k: Sequence[int], batch_size: int) -> list[int]:
    """Return the cut-offs, ascending, each once."""
    cutoffs = sorted(set(k))
    if not cutoffs or cutoffs[0] < 1:
        raise ConfigError(f"k needs at least one cut-off of at least 1, got {cutoffs}")
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
    return cutoffs


def _check_holdout(holdout: Holdout, n_items: int, card: ProtocolCard) -> None:
    n = len(holdout)
    if n == 0:
        raise DataError("there is no user to evaluate; leave-last-out needs users with 3 interactions")
    if holdout.targets.min() < 0 or holdout.targets.max() >= n_items:
        raise DataError(f"a target is not a row of a catalog of {n_items} items; was another catalog split?")
    if (card.n_users, card.n_items) != (n, n_items):
        raise DataError(
            f"the protocol card says {card.n_users} users and {card.n_items} items, "
            f"the evaluation has {n} and {n_items}; describe this holdout in the card"
        )


def _checked_lists(lists: Int32Array, queries: Queries, start: int, card: ProtocolCard) -> Int32Array:
    """Return the lists, Int32[n, m], after checking that they are what the protocol card says."""
    if lists.ndim != 2 or len(lists) != len(queries):
        raise DataError(f"the recommender returned items of shape {lists.shape} for {len(queries)} queries")
    if card.seen_excluded:
        seen = find_members(lists, queries.histories)
        if seen.any():
            row, place = np.argwhere(seen)[0]
            raise DataError(
                f"the protocol card says that histories are excluded, but holdout row {start + row} was "
                f"recommended item {lists[row, place]} of its own history; add the `seen` policy, or say "
                "seen_excluded=False in the card"
            )
    if queries.allow is not None:
        astray = (lists >= 0) & (lists < card.n_items)
        astray[astray] = ~queries.allow[lists[astray]]
        if astray.any():
            row, place = np.argwhere(astray)[0]
            raise DataError(
                f"only {int(queries.allow.sum())} items are ranked (Queries.allow), but holdout row {start + row} was "
                f"recommended item {lists[row, place]}, which is none of them"
            )
    return lists


def _judge(
    lists: Int32Array, targets: Int32Array, cut: int, rows: Int64Array, values: Mapping[str, Float64Array]
) -> None:
    """Write the accuracy metrics of one batch at one cut-off into its rows of `values`."""
    n_targets = np.ones(len(rows), dtype=np.int64)
    hits = find_hits(lists, Csr(np.arange(len(rows) + 1, dtype=np.int64), targets))
    for name, metric in ACCURACY.items():
        values[f"{name}@{cut}"][rows] = metric(hits, n_targets, cut)


def _totals(shown: Mapping[int, Int64Array], allow: BoolArray | None) -> dict[str, float]:
    """Coverage and Gini over the items that are ranked: others could not be shown."""
    totals: dict[str, float] = {}
    for cut, counts in shown.items():
        ranked = counts if allow is None else counts[allow]
        totals[f"coverage@{cut}"] = coverage_of(ranked)
        totals[f"gini@{cut}"] = gini_of(ranked)
    return totals


def rank_targets(scores: Float32Array, targets: Int32Array, exclude: Csr | None) -> Float64Array:
    """Rank each target among all items, given one scorer's scores of the whole catalog.

    Source of the tie rule: McSherry and Najork, Computing information retrieval performance measures
    efficiently in the presence of tied scores, ECIR 2008.

    Args:
        scores: Float32[n, n_items], higher is better; NaN and -inf mean "no score" and rank last.
        targets: Int32[n], catalog rows.
        exclude: n rows of catalog rows that do not compete, or None.

    Returns:
        Float64[n] of 1-based ranks. An item tied with the target counts half. A target without a score comes
        after every competing item.

    Raises:
        DataError: shapes do not fit, a target is not a row of the catalog, or is itself excluded.
    """
    n_excluded = len(targets) if exclude is None else len(exclude)
    if scores.ndim != 2 or not len(scores) == len(targets) == n_excluded:
        raise DataError(
            f"need scores [n, n_items], n targets and n rows to exclude; got scores of shape {scores.shape}, "
            f"{len(targets)} targets, {n_excluded} rows"
        )
    n, n_items = scores.shape
    if n and (targets.min() < 0 or targets.max() >= n_items):
        raise DataError(f"a target is not a row of a catalog of {n_items} items")
    ranks = np.empty(n)
    step = max(1, _CELLS // max(1, n_items))
    for start in range(0, n, step):
        rows = np.arange(start, min(start + step, n), dtype=np.int64)
        dropped = None if exclude is None else exclude.take(rows)
        ranks[rows] = _rank_block(scores[rows], targets[rows], dropped, start)
    return ranks


def _rank_block(scores: Float32Array, targets: Int32Array, exclude: Csr | None, start: int) -> Float64Array:
    rows = np.arange(len(scores))
    competing = np.ones(scores.shape, dtype=np.bool_)
    if exclude is not None:
        competing[np.repeat(rows, np.diff(exclude.offsets)), exclude.values] = False
        if not competing[rows, targets].all():
            row = int(np.argmin(competing[rows, targets]))
            raise DataError(f"row {start + row}: the target {targets[row]} is excluded, so it has no rank")
    competing[rows, targets] = False
    own = scores[rows, targets][:, None]
    # A comparison with NaN is False, so an item without a score never beats or ties a target that has one.
    above = ((scores > own) & competing).sum(axis=1)
    tied = ((scores == own) & competing).sum(axis=1)
    ranks = 1.0 + above + 0.5 * tied
    unscored = np.isnan(own[:, 0]) | np.isneginf(own[:, 0])
    return np.asarray(np.where(unscored, 1.0 + competing.sum(axis=1), ranks))


def rank_values(ranks: Float64Array, k: Sequence[int] = (10,)) -> dict[str, Float64Array]:
    """Turn ranks of single targets into the metrics of `ACCURACY`, one value per user.

    Args:
        ranks: Float64[n] of `rank_targets`; halves are kept as they are.
        k: cut-offs.

    Returns:
        Float64[n] by name ("NDCG@10", ...), as in a report; without ties they equal those of a ranked list.

    Raises:
        ConfigError: a cut-off is below 1.
        DataError: a rank is below 1.
    """
    if len(ranks) and not (ranks >= 1.0).all():
        raise DataError("ranks start at 1")
    values: dict[str, Float64Array] = {}
    for cut in _cutoffs(k, 1):
        inside = ranks <= cut
        hit, reciprocal = inside.astype(np.float64), np.where(inside, 1.0 / ranks, 0.0)
        gains = {
            "NDCG": np.where(inside, 1.0 / np.log2(ranks + 1.0), 0.0),
            "MRR": reciprocal,
            "MAP": reciprocal,
            "Precision": hit / cut,
            "F1": 2.0 * hit / (1.0 + cut),
        }
        values |= {f"{name}@{cut}": gains.get(name, hit) for name in ACCURACY}
    return values
