"""Ids made of meaning: items whose texts are alike begin alike, and no two are the same.

An item's id is a code of each level, the nearest centre to what the levels before have left over of its text's
embedding (residual k-means), and its number among the items of the same codes. The number is what keeps ids apart, by
construction: a bucket of codes takes any number of items. So a new item has an id at once, that of no other moves for
it, and even items of one text differ. To move an item to the next free codes instead would say of its text what is not
so, and the last place might be taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from llmrec.retrieve.base import blocks
from llmrec.retrieve.faiss_index import cluster_centres
from llmrec.retrieve.sequence import centred
from llmrec.types import BoolArray, Float32Array, Int32Array, Int64Array

__all__ = ["Codebooks", "SemanticIds", "learn_codebooks"]

COMPARED = 20_000_000
"""Numbers that are multiplied at once when the nearest centres are looked for."""


@dataclass(frozen=True, slots=True, eq=False)
class Codebooks:
    """From a text's embedding to its codes.

    Attributes:
        mean: Float32[e], taken off every embedding.
        centres: Float32[levels, codes, e].
    """

    mean: Float32Array
    centres: Float32Array

    def encode(self, embeddings: Float32Array) -> Int32Array:
        """Find the codes of Float32[n, e]: Int32[n, levels]; the same for a text alone and beside others."""
        codes = np.empty((len(embeddings), len(self.centres)), dtype=np.int32)
        rest = centred(embeddings, self.mean)
        for level, centres in enumerate(self.centres):
            codes[:, level] = _nearest(rest, centres)
            rest = rest - centres[codes[:, level]]
        return codes


def _nearest(vectors: Float32Array, centres: Float32Array) -> Int32Array:
    """Int32[n], the nearest of Float32[c, e]; of equally near ones, the first."""
    halves = 0.5 * np.einsum("ce,ce->c", centres, centres)
    found = np.empty(len(vectors), dtype=np.int32)
    for rows in blocks(len(vectors), centres.size, COMPARED):
        # einsum, not BLAS: an item's codes must not depend on which others are encoded with it
        found[rows] = (np.einsum("ne,ce->nc", vectors[rows], centres) - halves).argmax(axis=1)
    return found


def learn_codebooks(embeddings: Float32Array, mean: Float32Array, levels: int, codes: int, seed: int) -> Codebooks:
    """Learn the centres of each level by k-means, over what the levels before have left over.

    Args:
        embeddings: Float32[n, e], of the items to learn from, n > 0.
        mean: Float32[e], what all texts have in common.
        levels: how many.
        codes: of each level; no more than there are items.
        seed: of the first centres.
    """
    rest, found = centred(embeddings, mean), []
    for level in range(levels):
        centres = cluster_centres(rest, min(codes, len(rest)), seed + level)
        rest = rest - centres[_nearest(rest, centres)]
        found.append(centres)
    return Codebooks(mean, np.stack(found))


@dataclass(frozen=True, slots=True, eq=False)
class SemanticIds:
    """The ids of all items, n rows.

    Attributes:
        codes: Int32[n, levels + 1], distinct rows: the codes of each level, and the number within their bucket.
        learned: Bool[n], True where a network has learned what the id stands for. Of others it only knows the codes,
            and that they are new, whatever their number.
    """

    codes: Int32Array
    learned: BoolArray

    @classmethod
    def number(cls, codes: Int32Array, counts: Int64Array, tie_order: NDArray[np.uint64]) -> Self:
        """Number the items of each bucket, the one with the most interactions first: a number has a meaning, too.

        Args:
            codes: Int32[n, levels].
            counts: Int64[n], interactions of each item; without any there is nothing to learn of it.
            tie_order: UInt64[n], a fixed hash of the item ids.
        """
        order = np.lexsort((tie_order, -counts))
        numbers = np.empty(len(codes), dtype=np.int32)
        numbers[order] = _running(codes[order])
        return cls(np.column_stack([codes, numbers]).astype(np.int32), counts > 0)

    @property
    def digits(self) -> int:
        """How many numbers stand for items that were learned; one more, in `tokens`, for all new ones."""
        return int(self.codes[self.learned, -1].max(initial=-1)) + 1

    def tokens(self, digits: int) -> Int64Array:
        """Int64[n, levels + 1]: what a network reads, the number of every new item being `digits`."""
        tokens = self.codes.astype(np.int64)
        tokens[~self.learned, -1] = digits
        return tokens

    def placed(self, codes: Int32Array, rows: Int32Array) -> SemanticIds:
        """Return ids in which some items, known ones or such as follow, have new codes.

        An item whose codes are what they were keeps its id. Any other is as new, with the next free number of its
        bucket: its id stood for what its text no longer says.

        Args:
            codes: Int32[m, levels].
            rows: Int32[m], distinct; those beyond the last follow it without a gap.
        """
        old, size = len(self.codes), max(len(self.codes), int(rows.max(initial=-1)) + 1)
        found = np.pad(self.codes, ((0, size - old), (0, 0)))
        learned = np.pad(self.learned, (0, size - old))
        moved = (rows >= old) | (found[rows, :-1] != codes).any(axis=1)
        rows, codes = rows[moved], codes[moved]
        stays = np.ones(size, dtype=np.bool_)
        stays[rows] = False
        found[rows, :-1] = codes
        found[rows, -1] = _free(found[stays], codes)
        learned[rows] = False
        return SemanticIds(found, learned)

    def forgetting(self, items: BoolArray) -> SemanticIds:
        """Return the same ids, of which some stand for new items."""
        return SemanticIds(self.codes, self.learned & ~items)


def _running(codes: Int32Array) -> Int32Array:
    """Int32[n]: how many rows before have the same codes."""
    if len(codes) == 0:
        return np.empty(0, dtype=np.int32)
    _, bucket = np.unique(codes, axis=0, return_inverse=True)
    order = np.argsort(bucket.ravel(), kind="stable")
    ordered = bucket.ravel()[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    numbers = np.empty(len(codes), dtype=np.int32)
    numbers[order] = np.arange(len(codes)) - np.repeat(starts, np.diff(starts, append=len(codes)))
    return numbers


def _free(taken: Int32Array, codes: Int32Array) -> Int32Array:
    """Int32[m]: the number of each newcomer, behind all that stand in its bucket."""
    if len(codes) == 0:
        return np.empty(0, dtype=np.int32)
    both = np.concatenate([taken[:, :-1], codes])
    _, bucket = np.unique(both, axis=0, return_inverse=True)
    bucket = bucket.ravel()
    first = np.zeros(bucket.max() + 1, dtype=np.int32)
    np.maximum.at(first, bucket[: len(taken)], taken[:, -1] + 1)
    return (first[bucket[len(taken) :]] + _running(codes)).astype(np.int32)
