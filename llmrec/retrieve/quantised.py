"""Whether an encoder in 8-bit integers is as good as the same in floating point, on the catalog and log at hand."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from llmrec.data import Interactions
from llmrec.models import QuantisationWarning, TextEncoder
from llmrec.retrieve.base import blocks, recency_matrix
from llmrec.types import Float32Array, Int32Array, Queries

__all__ = ["MAX_LOSS", "EmbeddedItems", "Quantisation", "embed_items", "text_ndcg"]

MAX_LOSS = 0.01
"""The share of NDCG@10 that an encoder in int8 may lose; one that loses more is refused, be it by chance."""

MIN_COSINE = 0.98
"""Mean cosine to float32 below which int8 is refused, whatever its NDCG on a few cases."""

COSINES = 1000
"""Texts whose vectors are compared with those in float32."""

CASES = 20_000
"""Users whose last item is looked for by text."""

ITEMS = 50_000
"""Catalogs larger than this are not encoded a second time: a sample of so many items stands for them."""

DECAY = 0.8
"""Weight of an interaction relative to the one after it."""


@dataclass(frozen=True, slots=True)
class Quantisation:
    """What int8 changes.

    Attributes:
        cosine_mean: mean cosine between vectors in int8 and in float32.
        cosine_min: the least of them.
        texts: how many were compared.
        ndcg: NDCG@10 of finding each user's last item by text alone, in floating point; NaN without a log.
        ndcg_int8: the same in int8.
        ndcg_error: standard error of the difference between the two, paired by user.
        cases: users asked.
    """

    cosine_mean: float
    cosine_min: float
    texts: int
    ndcg: float
    ndcg_int8: float
    ndcg_error: float
    cases: int

    @property
    def loss(self) -> float:
        """The share of NDCG@10 lost, below 0 for a gain; 0 where nothing was asked."""
        return 0.0 if self.cases == 0 or self.ndcg == 0 else 1 - self.ndcg_int8 / self.ndcg

    @property
    def is_acceptable(self) -> bool:
        """Whether vectors are near and NDCG@10 is not lower than it may be."""
        return self.loss <= MAX_LOSS and self.cosine_mean >= MIN_COSINE

    def facts(self) -> dict[str, float | int | None]:
        """JSON values."""
        found = asdict(self)
        return {name: None if value != value else value for name, value in found.items()}


@dataclass(frozen=True, slots=True)
class EmbeddedItems:
    """A catalog's vectors and the encoder they come from.

    Attributes:
        encoder: as it is to be used from here on.
        vectors: Float32[n, dim], unit norm.
        quantised: what was measured of it, if it runs in int8.
    """

    encoder: TextEncoder
    vectors: Float32Array
    quantised: Mapping[str, float | int | None] | None = None


def embed_items(encoder: TextEncoder, texts: Sequence[str], train: Interactions | None) -> EmbeddedItems:
    """Embed a catalog's item texts; an encoder in int8 is calibrated with them and compared with floating point.

    Args:
        encoder: in any number format.
        texts: n item texts.
        train: histories over these items to measure with, or None.

    Returns:
        The vectors. Where int8 is not acceptable, a warning says so, and they are in floating point.
    """
    encoder = encoder.calibrated(texts)
    vectors = encoder.encode_items(texts)
    if encoder.placement.dtype != "int8":
        return EmbeddedItems(encoder, vectors)
    found = _compared(encoder, texts, vectors, train)
    if found.is_acceptable:
        return EmbeddedItems(encoder, vectors, found.facts())
    plain = encoder.in_dtype(encoder.placement.floating.dtype)
    warnings.warn(
        f"{encoder.name} in int8 loses {found.loss:.1%} of NDCG@10 on this catalog, with a mean cosine of "
        f"{found.cosine_mean:.3f} (at most {MAX_LOSS:.0%}, at least {MIN_COSINE}); it runs in {plain.placement.dtype}",
        QuantisationWarning,
        stacklevel=2,
    )
    return EmbeddedItems(plain, plain.encode_items(texts))


def _compared(
    encoder: TextEncoder, texts: Sequence[str], vectors: Float32Array, train: Interactions | None
) -> Quantisation:
    some = np.arange(len(texts))[:: max(1, len(texts) // COSINES)][:COSINES]
    exact = encoder.in_dtype("float32").encode_items([texts[row] for row in some])
    cosines = (exact * vectors[some]).sum(axis=1)
    log = None if train is None else _asked(train, len(texts))
    ndcg, ndcg_int8 = np.empty(0), np.empty(0)
    if log is not None:
        items = log.known
        plain = np.zeros_like(vectors)
        plain[items] = encoder.in_dtype(encoder.placement.floating.dtype).encode_items([texts[row] for row in items])
        ndcg = text_ndcg(plain, log.queries, log.targets, items)
        ndcg_int8 = text_ndcg(vectors, log.queries, log.targets, items)
    return Quantisation(
        cosine_mean=float(cosines.mean()),
        cosine_min=float(cosines.min()),
        texts=len(some),
        ndcg=float(ndcg.mean()) if len(ndcg) else float("nan"),
        ndcg_int8=float(ndcg_int8.mean()) if len(ndcg) else float("nan"),
        ndcg_error=float((ndcg - ndcg_int8).std() / np.sqrt(len(ndcg))) if len(ndcg) else float("nan"),
        cases=len(ndcg),
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """Histories without their last items, those items, and the Int32 rows that are ranked."""

    queries: Queries
    targets: Int32Array
    known: Int32Array


def _asked(train: Interactions, n_items: int) -> _Asked | None:
    """Evenly spaced users with a history of two or more; None if there are none."""
    users = np.flatnonzero(np.diff(train.offsets) >= 2)
    users = users[:: max(1, len(users) // CASES)][:CASES]
    if len(users) == 0:
        return None
    whole = train.queries(users)
    last = np.zeros(len(whole.items), np.bool_)
    last[whole.offsets[1:] - 1] = True
    offsets = whole.offsets - np.arange(len(whole.offsets))
    queries = Queries(offsets=offsets, items=whole.items[~last])
    known = np.arange(n_items, dtype=np.int32)
    if n_items > ITEMS:
        known = np.union1d(whole.items, known[:: n_items // ITEMS]).astype(np.int32)
    return _Asked(queries, whole.items[last], known)


def text_ndcg(vectors: Float32Array, queries: Queries, targets: Int32Array, items: Int32Array) -> NDArray[np.float64]:
    """NDCG@10 of each target among some items, by cosine with the history's recency-weighted mean; ties count half.

    Args:
        vectors: Float32[n, dim], unit norm.
        queries: m histories, which are left out of the ranking.
        targets: Int32[m], the one right item of each.
        items: Int32[i], ascending: the items ranked, all targets among them.

    Returns:
        Float64[m].
    """
    ranked = vectors[items]
    found = np.zeros(len(targets))
    for rows in blocks(len(targets), len(items)):
        asked = queries.take(rows)
        means = recency_matrix(asked, DECAY, len(vectors)) @ vectors
        scores = means @ ranked.T
        owners = np.repeat(np.arange(len(rows)), np.diff(asked.offsets))
        seen = np.searchsorted(items, asked.items)
        target = np.searchsorted(items, targets[rows])
        wanted = scores[np.arange(len(rows)), target]
        scores[owners, seen] = -np.inf
        above = (scores > wanted[:, None]).sum(axis=1)
        level = (scores == wanted[:, None]).sum(axis=1)
        ranks = above + np.maximum(level - 1, 0) / 2
        found[rows] = np.where(ranks < 10, 1 / np.log2(ranks + 2), 0.0)
    return found
