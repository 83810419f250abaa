"""Which part of each catalog was shown."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmrec.types import BoolArray

if TYPE_CHECKING:
    from llmrec.data import Catalog
    from llmrec.serve.live import Snapshot

__all__ = ["Coverage"]


@dataclass(frozen=True, slots=True)
class _Shown:
    """What of a bundle's catalog was in a list: Bool[n], a byte an item."""

    bundle: str
    catalog: Catalog
    rows: BoolArray


class Coverage:
    """Counts the items of each alias that were in a list since the start. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shown: dict[str, _Shown] = {}

    def saw(self, snapshot: Snapshot, item_ids: Sequence[str]) -> None:
        """A list of these items left."""
        with self._lock:
            shown = self._of(snapshot)
            rows = shown.catalog.items.get(item_ids)
            shown.rows[rows[rows >= 0]] = True

    def share(self, snapshot: Snapshot) -> float:
        """The share of the items that may be recommended now that were in a list, 0 to 1."""
        with self._lock:
            shown = self._of(snapshot)
            active = shown.catalog.active
            return float((shown.rows & active).sum() / max(1, int(active.sum())))

    def _of(self, snapshot: Snapshot) -> _Shown:
        """What was shown, in the rows of the catalog as it is now; the lock is held."""
        catalog = snapshot.recommender.catalog
        shown = self._shown.get(snapshot.alias)
        if shown is None or shown.catalog is not catalog or shown.bundle != snapshot.bundle:
            rows = np.zeros(len(catalog), dtype=np.bool_)
            if shown is not None and shown.bundle == snapshot.bundle and len(shown.rows) <= len(rows):
                rows[: len(shown.rows)] = shown.rows  # rows of a bundle never move
            elif shown is not None:
                there = catalog.items.get(shown.catalog.items.decode(np.flatnonzero(shown.rows)))
                rows[there[there >= 0]] = True
            shown = self._shown[snapshot.alias] = _Shown(snapshot.bundle, catalog, rows)
        return shown
