"""Made-up catalogs, vectors and queries of any size, drawn from the distribution of real ones."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

import llmrec
from llmrec.data import Catalog
from llmrec.models import EmbeddingCache, TextEncoder
from llmrec.text import load_template, render_items

NEIGHBOURS = 10
PROBES = 500
BLOCK = 50_000
DECAY = 0.8


@dataclass(frozen=True, slots=True)
class Source:
    """What is drawn from. A made-up vector is a random real one plus Gaussian noise, brought back to length one.

    Attributes:
        vectors: Float32[r, dim], the distinct real vectors.
        titles: r texts.
        offsets: Int64[u + 1], real histories.
        items: Int32[nnz], rows of `vectors`, oldest first.
        factor: Float32[dim, dim], what standard normal numbers are multiplied by. Its covariance is, but for the scale,
            that of differences between real vectors and one of their ten nearest.
        fit: how near the neighbours are in the real vectors, and in as many made-up ones.
    """

    vectors: np.ndarray
    titles: np.ndarray
    offsets: np.ndarray
    items: np.ndarray
    factor: np.ndarray
    fit: dict[str, Any]

    @classmethod
    def read(cls, data: str, encoder: str, template: str) -> Self:
        """Embed the catalog of a data set, and fit the noise to it."""
        dataset = llmrec.load_dataset(data)
        texts = render_items(load_template(template), dataset.catalog)
        model = TextEncoder.load(encoder, cache=EmbeddingCache.default())
        vectors, first, rows = np.unique(model.encode_items(texts), axis=0, return_index=True, return_inverse=True)
        titles = np.array(texts, dtype=object)[first].astype(str)
        log = dataset.interactions
        factor, fit = _noise(vectors)
        return cls(vectors, titles, log.offsets, rows.ravel()[log.items].astype(np.int32), factor, fit)

    def save(self, file: Path) -> None:
        """Write it, to be loaded by the processes that measure."""
        arrays = {name: getattr(self, name) for name in ("vectors", "titles", "offsets", "items", "factor")}
        np.savez(file, **arrays, fit=np.array(repr(self.fit)))

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read what `save` wrote; what the fit found is not needed any more."""
        with np.load(file) as found:
            return cls(*(found[name] for name in ("vectors", "titles", "offsets", "items", "factor")), fit={})

    def draw(self, rng: np.random.Generator, origins: np.ndarray) -> np.ndarray:
        """Float32[m, dim]: a vector near each of some real ones, Int[m]."""
        dim = self.vectors.shape[1]
        drawn = self.vectors[origins] + rng.standard_normal((len(origins), dim), dtype=np.float32) @ self.factor.T
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        return np.asarray(drawn, dtype=np.float32)


def _noise(vectors: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """The factor, scaled so that among as many made-up vectors the nearest is as near as among the real ones."""
    rng = np.random.default_rng(0)
    parts = [part for part in np.array_split(np.arange(len(vectors)), 20) if len(part)]
    near = np.concatenate([_nearest(vectors, part) for part in parts])
    one = near[np.arange(len(vectors)), rng.integers(0, near.shape[1], len(vectors))]
    differences = (vectors - vectors[one]).astype(np.float64)
    covariance = differences.T @ differences / len(vectors)
    factor = np.linalg.cholesky(covariance + 1e-9 * np.eye(len(covariance))).astype(np.float32)
    empty = np.empty(0)
    wanted, low, high = _likeness(vectors), 0.0, 1.0
    for _ in range(7):
        scale = (low + high) / 2
        trial = Source(vectors, empty, empty, empty, np.float32(scale) * factor, {})
        again = np.random.default_rng(1)
        found = _likeness(trial.draw(again, again.integers(0, len(vectors), len(vectors))))
        low, high = (scale, high) if found["1"] > wanted["1"] else (low, scale)
    return np.float32(scale) * factor, {"distinct": len(vectors), "scale": scale, "real": wanted, "made_up": found}


def _nearest(vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The ten nearest of some rows, not themselves."""
    cosines = vectors[rows] @ vectors.T
    cosines[np.arange(len(rows)), rows] = -np.inf
    k = min(NEIGHBOURS, len(vectors) - 1)
    return np.argpartition(-cosines, k - 1, axis=1)[:, :k]


def _likeness(vectors: np.ndarray) -> dict[str, float]:
    """Mean cosine to the neighbour at some ranks."""
    probes = vectors[:: max(1, len(vectors) // PROBES)][:PROBES]
    cosines = -np.sort(-(probes @ vectors.T), axis=1)
    return {str(rank): round(float(cosines[:, rank].mean()), 4) for rank in (1, 10, 100) if rank < len(vectors)}


def make_catalog(source: Source, rng: np.random.Generator, origins: np.ndarray) -> Catalog:
    """A catalog with ids as long as Amazon's and the titles of the real items, each with a number behind it."""
    ids = [f"B{number:09d}" for number in rng.permutation(len(origins))]
    titles = [f"{source.titles[origin]} {place}" for place, origin in enumerate(origins)]
    return Catalog.from_table(pa.table({"item_id": pa.array(ids), "title": pa.array(titles)}))


def make_histories(
    source: Source, rng: np.random.Generator, origins: np.ndarray, users: int
) -> tuple[np.ndarray, np.ndarray]:
    """Histories of real users, each item replaced by a random one near it: Int64[users + 1] and Int32[nnz].

    Real items that nothing was drawn near are replaced by any item.
    """
    chosen = rng.integers(0, len(source.offsets) - 1, users)
    lengths = np.diff(source.offsets)[chosen]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    at = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths) + np.repeat(source.offsets[chosen], lengths)
    real = source.items[at]
    order = np.argsort(origins, kind="stable")
    starts = np.searchsorted(origins[order], np.arange(len(source.vectors) + 1))
    count = np.diff(starts)[real]
    spot = starts[real] + (rng.random(len(real)) * count).astype(np.int64)
    anything = rng.integers(0, len(origins), len(real))
    return offsets, np.where(count > 0, order[np.minimum(spot, len(order) - 1)], anything).astype(np.int32)


def history_means(vectors: np.ndarray, offsets: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Float32[u, dim]: recency-weighted means as `dense` makes them, of length one; histories must not be empty."""
    means = np.empty((len(offsets) - 1, vectors.shape[1]), dtype=np.float32)
    for user, (start, stop) in enumerate(pairwise(offsets)):
        weights = DECAY ** np.arange(stop - start - 1, -1, -1, dtype=np.float32)
        mean = weights @ vectors[items[start:stop]]
        means[user] = mean / np.linalg.norm(mean)
    return means


def exact_neighbours(vectors: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """Int64[m, k]: the true nearest of each query, in no order, block by block."""
    scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    for start in range(0, len(vectors), BLOCK):
        part = queries @ vectors[start : start + BLOCK].T
        here = np.broadcast_to(np.arange(start, start + part.shape[1]), part.shape)
        scores, rows = np.concatenate([scores, part], axis=1), np.concatenate([rows, here], axis=1)
        best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        scores, rows = np.take_along_axis(scores, best, axis=1), np.take_along_axis(rows, best, axis=1)
    return rows
