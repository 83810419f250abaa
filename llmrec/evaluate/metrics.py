"""Metrics of recommended lists: pure functions over arrays, no state, no model.

Accuracy metrics take ``hits`` (Bool[n, m]: is the item at this place of the list a target, counted once)
and ``n_targets`` (Int64[n]) and return one float64 per user, in [0, 1]. Catalog metrics take the lists.

Sums along a list run left to right, never by a tree whose shape depends on the array: a user's value is the
same to the last bit in a batch of 1 and of 1,024, a perfect list has exactly 1.0, and moving a hit up never
lowers a value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from llmrec.errors import ConfigError, DataError
from llmrec.types import BoolArray, Csr, Int32Array, Int64Array

__all__ = [
    "ACCURACY",
    "Float64Array",
    "Metric",
    "accuracy",
    "average_precision",
    "coverage",
    "coverage_of",
    "exposure",
    "f1",
    "find_hits",
    "find_members",
    "first_occurrences",
    "gini",
    "gini_of",
    "hit_rate",
    "ndcg",
    "novelty",
    "novelty_of",
    "precision",
    "recall",
    "reciprocal_rank",
]

Float64Array = NDArray[np.float64]
Metric = Callable[[BoolArray, Int64Array, int], Float64Array]


def find_members(items: Int32Array, rows: Csr) -> BoolArray:
    """Say which listed items occur in the row's set.

    Args:
        items: Int32[n, m], catalog rows, -1 pads.
        rows: n ragged rows of catalog rows; repeats are allowed.

    Returns:
        Bool[n, m]; False at pads.

    Raises:
        DataError: `items` and `rows` have not the same number of rows.
    """
    if len(items) != len(rows):
        raise DataError(f"{len(items)} lists need one row of items each, there are {len(rows)} rows")
    # One int64 key per (row, item) makes membership a single set operation for the whole batch.
    stride = 1 + max(int(items.max(initial=0)), int(rows.values.max(initial=0)))
    keys = items + stride * np.arange(len(items), dtype=np.int64)[:, None]
    wanted = rows.values + stride * np.repeat(np.arange(len(rows), dtype=np.int64), np.diff(rows.offsets))
    return np.isin(keys, wanted) & (items >= 0)


def first_occurrences(items: Int32Array) -> BoolArray:
    """Say where an item stands for the first time in its list.

    Args:
        items: Int32[n, m], catalog rows, -1 pads.

    Returns:
        Bool[n, m]; False at pads and at repeats.
    """
    order = np.argsort(items, axis=1, kind="stable")
    ordered = np.take_along_axis(items, order, axis=1)
    fresh = np.ones(items.shape, dtype=np.bool_)
    fresh[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = np.empty_like(fresh)
    np.put_along_axis(first, order, fresh, axis=1)
    return first & (items >= 0)


def find_hits(items: Int32Array, targets: Csr) -> BoolArray:
    """Say which listed items are targets; each target counts once, at its first place.

    Args:
        items: Int32[n, m], catalog rows in list order, -1 pads.
        targets: n ragged rows of catalog rows.

    Returns:
        Bool[n, m]; False at pads and at repeats of an item already listed.

    Raises:
        DataError: `items` and `targets` have not the same number of rows.
    """
    return find_members(items, targets) & first_occurrences(items)


def _top(hits: BoolArray, n_targets: Int64Array, k: int) -> BoolArray:
    """Cut `hits` at `k` after checking that the three fit together."""
    _check_cutoff(k)
    if hits.ndim != 2 or n_targets.shape != (len(hits),):
        raise DataError(f"hits must be [n, m] and n_targets [n], got {hits.shape} and {n_targets.shape}")
    hits = np.asarray(hits, dtype=np.bool_)
    if (n_targets < 1).any():
        row = int(np.argmax(n_targets < 1))
        raise DataError(f"row {row} has no target, so no metric is defined for it; leave such users out")
    if (hits.sum(axis=1) > n_targets).any():
        row = int(np.argmax(hits.sum(axis=1) > n_targets))
        raise DataError(f"row {row} has more hits than targets; count each target once (see find_hits)")
    return hits[:, :k]


def _check_cutoff(k: int) -> None:
    if k < 1:
        raise ConfigError(f"k is the length of the list a metric looks at, so at least 1; got {k}")


def _running_sum(gains: Float64Array) -> Float64Array:
    """Sum Float64[n, m] along rows, strictly left to right; 0 for an empty row."""
    if gains.shape[1] == 0:
        return np.zeros(len(gains))
    return np.asarray(np.cumsum(gains, axis=1)[:, -1])


def _discounts(k: int) -> Float64Array:
    return 1.0 / np.log2(np.arange(2, k + 2, dtype=np.float64))


def ndcg(hits: BoolArray, n_targets: Int64Array, k: int) -> Float64Array:
    """Normalized discounted cumulative gain at `k`, binary relevance, log2 discount.

    Source: Järvelin and Kekäläinen, Cumulated gain-based evaluation of IR techniques, TOIS 2002.

    Args:
        hits: Bool[n, m], see `find_hits`; a list shorter than `k` is taken as ending there.
        n_targets: Int64[n], at least 1.
        k: places looked at.

    Returns:
        Float64[n] in [0, 1]; 1 when every place that can hold a target does.

    Raises:
        ConfigError: `k` is below 1.
        DataError: shapes do not fit, a row has no target, or more hits than targets.
    """
    top = _top(hits, n_targets, k)
    # no more places than can hold a target: k may be any number
    discounts = _discounts(min(k, max(top.shape[1], int(n_targets.max(initial=1)))))
    ideal = np.cumsum(discounts)[np.minimum(n_targets, len(discounts)) - 1]
    return np.asarray(_running_sum(top * discounts[: top.shape[1]]) / ideal)


def recall(hits: BoolArray, n_targets: Int64Array, k: int) -> Float64Array:
    """Share of a user's targets found in the first `k`; arguments and errors as in `ndcg`."""
    return np.asarray(_top(hits, n_targets, k).sum(axis=1) / n_targets)


def precision(hits: BoolArray, n_targets: Int64Array, k: int) -> Float64Array:
    """Share of the first `k` places that hold a target; arguments and errors as in `ndcg`.

    A list shorter than `k` is not rewarded for it: the divisor stays `k`.
    """
    return np.asarray(_top(hits, n_targets, k).sum(axis=1) / float(k))


def f1(hits: BoolArray, n_targets: Int64Array, k: int) -> Float64Array:
    """Harmonic mean of `precision` and `recall` at `k`; arguments and errors as in `ndcg`."""
    return np.asarray(2.0 * _top(hits, n_targets, k).sum(axis=1) / (n_targets + float(k)))


def hit_rate(hits: BoolArray, n_targets: Int64Array, k: int) -> Float64Array:
    """Return 1.0 where any target is in the first `k`, else 0.0; arguments and errors as in `ndcg`."""
    return np.asarray(_top(hits, n_targets, k).any(axis=1), dtype=np.float64)


def reciprocal_rank(hits: BoolArray, n_targets: Int64Array, k: int) -> Float64Array:
    """Return 1 / rank of the first hit among the first `k`, else 0.0; arguments and errors as in `ndcg`."""
    top = _top(hits, n_targets, k)
    if top.shape[1] == 0:
        return np.zeros(len(top))
    return np.where(top.any(axis=1), 1.0 / (top.argmax(axis=1) + 1.0), 0.0)


def average_precision(hits: BoolArray, n_targets: Int64Array, k: int) -> Float64Array:
    """Mean over the targets of the precision at each target's place (MAP@k before the mean over users).

    Arguments and errors as in `ndcg`; a target outside the first `k` adds 0, and the divisor is
    min(n_targets, k), so that a list full of targets has 1.
    """
    top = _top(hits, n_targets, k)
    places = np.arange(1, top.shape[1] + 1, dtype=np.float64)
    gains = top * (np.cumsum(top, axis=1) / places)
    return np.asarray(_running_sum(gains) / np.minimum(n_targets, k))


def accuracy(hits: BoolArray, n_targets: Int64Array, k: int) -> Float64Array:
    """Top-k accuracy: 1.0 where the answer is among the first `k`, else 0.0; arguments and errors as in `ndcg`.

    This is what scikit-learn (`top_k_accuracy_score`) and sentence-transformers (`InformationRetrievalEvaluator`)
    call accuracy, and it equals `hit_rate`; accuracy@1 is how often the first item is right. The accuracy of a
    confusion matrix, (true positives + true negatives) / items, is not used: every item that is rightly not shown
    counts for it, so over a whole catalog an empty list has nearly 1.
    """
    return hit_rate(hits, n_targets, k)


ACCURACY: Mapping[str, Metric] = MappingProxyType(
    {
        "NDCG": ndcg,
        "Recall": recall,
        "HitRate": hit_rate,
        "MRR": reciprocal_rank,
        "Precision": precision,
        "F1": f1,
        "MAP": average_precision,
        "Accuracy": accuracy,
    }
)
"""What every report holds, by printed name. With one target a user the last four say nothing new: precision is
the hit rate / k, F1 is twice the hit rate / (k + 1), MAP is MRR, and accuracy is the hit rate."""


def exposure(items: Int32Array, n_items: int, k: int) -> Int64Array:
    """Count in how many of the lists each item stands among the first `k`.

    Args:
        items: Int32[n, m], catalog rows in list order, -1 pads.
        n_items: catalog size.
        k: places looked at.

    Returns:
        Int64[n_items]; an item listed twice in one list counts once. Counts of batches add up.

    Raises:
        ConfigError: `k` is below 1.
        DataError: an item is not a row of the catalog.
    """
    _check_cutoff(k)
    top = items[:, :k]
    if top.max(initial=-1) >= n_items or top.min(initial=0) < -1:
        bad = top[(top >= n_items) | (top < -1)][0]
        raise DataError(f"item {bad} is not a row of a catalog of {n_items} items; pads must be -1")
    return np.bincount(top[first_occurrences(top)], minlength=n_items).astype(np.int64)


def coverage_of(counts: Int64Array) -> float:
    """Return the share of the catalog recommended at least once, given Int64[n_items] of `exposure`."""
    return float(np.count_nonzero(counts)) / len(counts)


def coverage(items: Int32Array, n_items: int, k: int) -> float:
    """Share of the catalog that is in the first `k` of at least one list; arguments as in `exposure`."""
    return coverage_of(exposure(items, n_items, k))


def gini_of(counts: Int64Array) -> float:
    """Gini index of Int64[n_items] of `exposure`; see `gini`."""
    ordered = np.sort(counts)
    n, total = len(ordered), int(ordered.sum())
    if total == 0:
        return 0.0
    weights = 2 * np.arange(1, n + 1, dtype=np.int64) - n - 1
    # Integers until the last step: exact, so the order in which users came cannot show.
    return int((weights * ordered).sum()) / (n * total)


def gini(items: Int32Array, n_items: int, k: int) -> float:
    """How unequally the first `k` places are spread over the catalog; arguments as in `exposure`.

    Returns:
        0.0 when every item is shown equally often (or nothing is shown), near 1.0 when one item has it all.
    """
    return gini_of(exposure(items, n_items, k))


def novelty_of(counts: Int64Array, popularity: Int64Array) -> float:
    """Novelty of Int64[n_items] of `exposure`; see `novelty`."""
    if counts.shape != popularity.shape:
        raise DataError(f"popularity must have one count per item: {popularity.shape} != {counts.shape}")
    if (popularity < 0).any():
        raise DataError("popularity counts must not be negative")
    shown = int(counts.sum())
    if shown == 0:
        return 0.0
    bits = np.log2(float(popularity.sum() + len(popularity))) - np.log2(popularity + 1.0)
    return float(np.cumsum(counts * bits)[-1] / shown)


def novelty(items: Int32Array, popularity: Int64Array, k: int) -> float:
    """Mean self-information of the items shown, in bits: how surprising the lists are.

    Source: Zhou et al., Solving the apparent diversity-accuracy dilemma of recommender systems, PNAS 2010;
    here with one added to every count, so that an item never seen in training has a finite value.

    Args:
        items: Int32[n, m], catalog rows in list order, -1 pads.
        popularity: Int64[n_items], training interactions of each item.
        k: places looked at.

    Returns:
        Mean of log2((sum of counts + n_items) / (count + 1)) over the items shown; 0.0 when nothing is shown.

    Raises:
        ConfigError: `k` is below 1.
        DataError: an item is not a row of the catalog, or a count is negative.
    """
    return novelty_of(exposure(items, len(popularity), k), popularity)
