"""Histories cut into windows and put into batches, for training a network over sequences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmrec.types import Int32Array, Int64Array

__all__ = ["Windows", "cut_windows", "epoch_batches", "read_window"]

SORTED_TOGETHER = 20
"""Batches whose windows are sorted by length among each other: little padding, and still chance in what meets."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Parts of histories to learn from: within each, every item but the first is foretold from those before it.

    Attributes:
        items: Int32[nnz], all histories behind each other.
        starts: Int64[w], where each window begins in `items`.
        lengths: Int64[w], at least 2.
    """

    items: Int32Array
    starts: Int64Array
    lengths: Int64Array

    def __len__(self) -> int:
        return len(self.starts)


def cut_windows(offsets: Int64Array, items: Int32Array, max_length: int) -> Windows:
    """Cut histories into windows of at most `max_length` inputs, from the end, so that the latest one is whole.

    Neighbouring windows share one item: the last target of one is the first input of the next, so every item but a
    history's first is a target once.

    Args:
        offsets: Int64[n + 1], over the histories.
        items: Int32[nnz], oldest first.
        max_length: inputs of a window.
    """
    targets = np.maximum(np.diff(offsets) - 1, 0)
    counts = -(-targets // max_length)
    owners = np.repeat(np.arange(len(targets)), counts)
    back = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)  # 0: the latest window
    stops = offsets[owners + 1] - back * max_length
    starts = np.maximum(stops - max_length - 1, offsets[owners])
    return Windows(items, starts.astype(np.int64), (stops - starts).astype(np.int64))


def epoch_batches(windows: Windows, batch_size: int, rng: np.random.Generator) -> list[Int64Array]:
    """Put all windows into batches of like lengths, in random order; as many batches in every epoch.

    Returns:
        Int64 rows of `windows`, one array a batch.
    """
    order = rng.permutation(len(windows))
    pool = batch_size * SORTED_TOGETHER
    pools = (order[start : start + pool] for start in range(0, len(order), pool))
    ordered = np.concatenate([part[np.argsort(windows.lengths[part], kind="stable")] for part in pools])
    batches = [ordered[start : start + batch_size] for start in range(0, len(ordered), batch_size)]
    return [batches[place] for place in rng.permutation(len(batches))]


def read_window(windows: Windows, rows: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Lay windows side by side.

    Returns:
        Int64[b, longest] items, -1 pads on the right; Int64[b] lengths.
    """
    lengths = windows.lengths[rows]
    grid = np.arange(int(lengths.max()))[None]
    places = np.minimum(windows.starts[rows, None] + grid, len(windows.items) - 1)
    return np.where(grid < lengths[:, None], windows.items[places], -1).astype(np.int64), lengths
