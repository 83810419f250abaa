"""From filters and lists of ids to a mask of what may come back."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec.serve.asked import Asked
from llmrec.serve.live import Snapshot
from llmrec.serve.problems import Unprocessable
from llmrec.types import BoolArray

if TYPE_CHECKING:
    from llmrec.data import Catalog

__all__ = ["MaskKey", "Masks", "allowed"]

MaskKey = tuple[tuple[str, ...] | None, tuple[tuple[str, tuple[str, ...]], ...]]
"""What two requests must have in common to have one mask."""

KEPT = 32
"""Masks that are kept at hand."""


def allowed(catalog: Catalog, allow: tuple[str, ...] | None, filters: Mapping[str, tuple[str, ...]]) -> BoolArray:
    """Return what may come back, Bool[n_items].

    An item passes a filter if one of its values in the field, written as text, is among those that are accepted; it
    must pass all of them.

    Raises:
        Unprocessable: a field or an item is not in the catalog.
    """
    mask = np.ones(len(catalog), dtype=np.bool_)
    if allow is not None:
        rows = catalog.items.get(allow)
        if (rows < 0).any():
            raise Unprocessable(f"allow: {int((rows < 0).sum())} of its items are not in the catalog")
        mask[:] = False
        mask[rows] = True
    for field, values in filters.items():
        if field not in catalog.columns[1:]:
            raise Unprocessable(f"filters: no field {field!r}; the catalog has {catalog.columns[1:]}")
        mask &= _having(catalog.table.column(field), frozenset(values))
    return mask


class Masks:
    """Masks that were asked for lately; safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str, int, MaskKey], BoolArray] = OrderedDict()

    def get(self, snapshot: Snapshot, asked: Asked) -> tuple[MaskKey | None, BoolArray | None]:
        """Return the mask of a request and what it is known by; None where anything may come back.

        Raises:
            Unprocessable: see `allowed`.
        """
        if asked.allow is None and not asked.filters:
            return None, None
        chosen = None if asked.allow is None else tuple(sorted(set(asked.allow)))
        filters = tuple(sorted((field, tuple(sorted(set(values)))) for field, values in asked.filters.items()))
        key: MaskKey = chosen, filters
        place = snapshot.alias, snapshot.bundle, snapshot.item_seq, key
        with self._lock:
            if place in self._kept:
                self._kept.move_to_end(place)
                return key, self._kept[place]
        mask = allowed(snapshot.recommender.catalog, chosen, dict(filters))
        with self._lock:
            self._kept[place] = mask
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return key, mask


def _having(column: Any, accepted: frozenset[str]) -> BoolArray:
    """Bool[n]: whether an item has one of the values. Only distinct values are compared as text."""
    import pyarrow as pa

    from llmrec.policy.fields import value_text

    found = np.zeros(len(column), dtype=np.bool_)
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    owners = np.arange(len(array))
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        import pyarrow.compute as pc

        owners, array = pc.list_parent_indices(array).to_numpy(), pc.list_flatten(array)
    coded = array.dictionary_encode()
    values = coded.dictionary.to_pylist()
    codes = [code for code, value in enumerate(values) if not _empty(value) and value_text(value).strip() in accepted]
    places = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    found[owners[np.isin(places, codes)]] = True
    return found


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
