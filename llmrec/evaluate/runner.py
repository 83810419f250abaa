"""Run a recommender over held-out users and judge what it returns.

Batches bound the memory: what is kept is one float per user and metric and one count per item and cut-off,
never a users x items array.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from llmrec.errors import ConfigError, DataError, LeakageError
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
from llmrec.pipeline import Recommender
from llmrec.types import Csr, Float32Array, Int32Array, Int64Array, Queries, Ranking

if TYPE_CHECKING:
    from llmrec.data import Holdout

__all__ = ["Recommends", "evaluate", "rank_targets", "rank_values"]

# Scores looked at in one go by rank_targets, so that its temporaries stay at some ten MB.
_CELLS = 2**21


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
    batch_size: int = 1024,
    list_length: int | None = None,
    protocol: ProtocolCard,
) -> Report:
    """Judge a recommender by where it puts what users took next.

    The result does not depend on the batch size, nor (but for the order of the values of single users) on the
    order of the users. A target that is not in the list is a miss; repeated items and pads count for nothing.

    Args:
        recommender: answers queries with lists of catalog rows.
        holdout: n queries with one target each.
        k: cut-offs of the metrics.
        n_items: catalog size.
        batch_size: queries answered at once.
        list_length: length of the lists asked for; default: the largest cut-off.
        protocol: how the holdout was made; goes into the report.

    Returns:
        NDCG, recall, hit rate and MRR at each cut-off with 95% intervals over users; coverage and Gini.

    Raises:
        ConfigError: a cut-off, the batch size or the list length is out of range.
        LeakageError: a Recommender says of itself (`about`) that it was fitted on the whole of this very log.
        DataError: the holdout is empty or does not fit the card or the catalog, or the recommender returns
            something other than one list per query, an item outside the catalog, or a history item although
            the card says that histories are excluded.
    """
    cutoffs = sorted(set(k))
    length = _check_lengths(cutoffs, batch_size, list_length)
    _check_holdout(holdout, n_items, protocol)
    _check_unseen(recommender, protocol)
    n = len(holdout)
    values = {f"{name}@{cut}": np.empty(n) for cut in cutoffs for name in ACCURACY}
    shown = {cut: np.zeros(n_items, dtype=np.int64) for cut in cutoffs}
    n_short = 0
    for start in range(0, n, batch_size):
        rows = np.arange(start, min(start + batch_size, n), dtype=np.int64)
        queries = holdout.queries.take(rows)
        lists = _checked_lists(recommender.recommend(queries, length), queries, start, protocol)
        _judge(lists, holdout.targets[rows], rows, values)
        for cut in cutoffs:
            shown[cut] += exposure(lists, n_items, cut)
        n_short += int((first_occurrences(lists[:, : cutoffs[-1]]).sum(axis=1) < cutoffs[-1]).sum())
    return Report(
        card=protocol,
        metrics={name: bootstrap_interval(per_user) for name, per_user in values.items()},
        values=values,
        totals=_totals(shown),
        exposure=shown,
        user_rows=np.asarray(holdout.user_rows, dtype=np.int64),
        n_short=n_short,
    )


def _check_lengths(cutoffs: list[int], batch_size: int, list_length: int | None) -> int:
    """Return the length of list to ask for."""
    if not cutoffs or cutoffs[0] < 1:
        raise ConfigError(f"k needs at least one cut-off of at least 1, got {cutoffs}")
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
    if list_length is None:
        return cutoffs[-1]
    if list_length < cutoffs[-1]:
        raise ConfigError(f"list_length {list_length} is too short for metrics at {cutoffs[-1]}")
    return list_length


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


def _check_unseen(recommender: Recommends, card: ProtocolCard) -> None:
    if not isinstance(recommender, Recommender) or recommender.about is None:
        return
    about = recommender.about
    if about.get("data", {}).get("interactions") == card.data_hash and about.get("holdout") != "last":
        raise LeakageError(
            "LEAKAGE: the recommender was fitted on every interaction of this log, the targets too, so no figure of "
            "it means anything; fit one for measuring with holdout='last' (llmrec fit --holdout last)"
        )


def _checked_lists(ranking: Ranking, queries: Queries, start: int, card: ProtocolCard) -> Int32Array:
    """Return the lists, Int32[n, m], after checking that they are what the protocol card says."""
    lists = np.asarray(ranking.items)
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
    return lists


def _judge(lists: Int32Array, targets: Int32Array, rows: Int64Array, values: Mapping[str, Float64Array]) -> None:
    """Write every metric of one batch into its rows of `values`."""
    n_targets = np.ones(len(rows), dtype=np.int64)
    hits = find_hits(lists, Csr(np.arange(len(rows) + 1, dtype=np.int64), targets))
    for name, per_user in values.items():
        metric, _, cut = name.partition("@")
        per_user[rows] = ACCURACY[metric](hits, n_targets, int(cut))


def _totals(shown: Mapping[int, Int64Array]) -> dict[str, float]:
    totals: dict[str, float] = {}
    for cut, counts in shown.items():
        totals[f"coverage@{cut}"] = coverage_of(counts)
        totals[f"gini@{cut}"] = gini_of(counts)
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
    """Turn ranks of single targets into the metrics of `evaluate`, one value per user.

    Args:
        ranks: Float64[n] of `rank_targets`; halves are kept as they are.
        k: cut-offs.

    Returns:
        Float64[n] by name ("NDCG@10", ...), as in a report; without ties they equal those of a ranked list.

    Raises:
        ConfigError: a cut-off is below 1.
        DataError: a rank is below 1.
    """
    cutoffs = sorted(set(k))
    _check_lengths(cutoffs, 1, None)
    if len(ranks) and not (ranks >= 1.0).all():
        raise DataError("ranks start at 1")
    values: dict[str, Float64Array] = {}
    for cut in cutoffs:
        hit = ranks <= cut
        values[f"NDCG@{cut}"] = np.where(hit, 1.0 / np.log2(ranks + 1.0), 0.0)
        values[f"Recall@{cut}"] = hit.astype(np.float64)
        values[f"HitRate@{cut}"] = hit.astype(np.float64)
        values[f"MRR@{cut}"] = np.where(hit, 1.0 / ranks, 0.0)
    return values
