"""Items put, changed, removed and shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec.serve.problems import NotFound, TooLarge, Unprocessable
from llmrec.serve.service._events import is_storable
from llmrec.serve.service._items import item_view, items_page
from llmrec.serve.service._parts import Parts
from llmrec.serve.views import ItemView, Page

if TYPE_CHECKING:
    from llmrec.types import BoolArray, Item

__all__ = ["Catalogs"]

LONGEST_PAGE = 1_000


class Catalogs:
    """The catalogs of all pipelines, for one event loop.

    Args:
        parts: of the service.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def put(self, items: Sequence[Item], replace: bool) -> int:
        """See `Service.put_items`."""
        self._check(items)
        return await self._parts.slow(self._put, items, replace)

    async def remove(self, item_ids: Sequence[str]) -> int:
        """See `Service.remove_items`."""
        if len(item_ids) > self._parts.config.limits.batch:
            raise TooLarge(f"at most {self._parts.config.limits.batch} items are taken in one request")
        return await self._parts.slow(self._remove, list(dict.fromkeys(item_ids)))

    async def item(self, item_id: str, alias: str) -> ItemView:
        """See `Service.item`."""
        return await self._parts.blocking(self._item, item_id, alias)

    async def items(self, cursor: str | None, limit: int, find: str | None, alias: str) -> Page[ItemView]:
        """See `Service.items`."""
        recommender = self._parts.models.snapshot(alias).recommender
        return await self._parts.blocking(items_page, recommender, cursor, max(1, min(limit, LONGEST_PAGE)), find)

    def _put(self, items: Sequence[Item], replace: bool) -> int:
        models = self._parts.models
        before = self._there([item.id for item in items])
        catalogs = [models.snapshot(alias).recommender.catalog for alias in models.aliases()]
        names = sorted({name for catalog in catalogs for name in catalog.columns[1:]})
        empty: Mapping[str, Any] = dict.fromkeys(names) if replace else {}
        models.put_items([(item.id, {**empty, **item.fields}, "active") for item in items])
        return int((~before).sum())

    def _remove(self, item_ids: Sequence[str]) -> int:
        there = self._there(item_ids)
        if not there.all():
            place = int(np.flatnonzero(~there)[0])
            raise NotFound(f"item_ids[{place}]: there is no such item, or it was removed")
        if item_ids:
            self._parts.models.put_items([(item_id, {}, "removed") for item_id in item_ids])
        return len(item_ids)

    def _there(self, item_ids: Sequence[str]) -> BoolArray:
        """Bool[n]: whether each item can be recommended by any pipeline."""
        models, there = self._parts.models, np.zeros(len(item_ids), dtype=np.bool_)
        for alias in models.aliases():
            catalog = models.snapshot(alias).recommender.catalog
            rows = catalog.items.get(item_ids)
            there |= (rows >= 0) & catalog.active[rows]
        return there

    def _item(self, item_id: str, alias: str) -> ItemView:
        parts = self._parts
        if not is_storable(item_id):
            raise NotFound("there is no such item")
        put = parts.store.item(item_id) is not None
        return item_view(parts.models.snapshot(alias).recommender, item_id, put)

    def _check(self, items: Sequence[Item]) -> None:
        limits = self._parts.config.limits
        if len(items) > limits.batch:
            raise TooLarge(f"{len(items)} items in one request, at most {limits.batch} are taken; send them in parts")
        if len({item.id for item in items}) < len(items):
            raise Unprocessable("an item is given more than once; give each once")
        for place, item in enumerate(items):
            if not is_storable(item.id):
                raise Unprocessable(f"items[{place}].id must be 1 to 512 characters, none of them NUL")
            for name, value in item.fields.items():
                if isinstance(value, str) and len(value) > limits.text_chars:
                    raise TooLarge(f"items[{place}].{name} has more than {limits.text_chars} characters")
