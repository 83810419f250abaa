"""Items as they are shown: fields, state, the text that retrievers index; pages of a catalog, and finding in it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec.serve.problems import BadRequest, NotFound
from llmrec.serve.views import ItemView, Page

if TYPE_CHECKING:
    from llmrec.data import Catalog
    from llmrec.pipeline import Recommender
    from llmrec.types import Int64Array

__all__ = ["fields_of", "item_view", "items_page", "title_of"]

PART = 20_000
"""Rows that are searched at once."""

TITLES = ("title", "name", "headline", "label")
"""Fields that say what to call an item, the best first; else its first text field."""


def fields_of(catalog: Catalog, rows: Sequence[int]) -> list[dict[str, Any]]:
    """Return the fields of some rows, without their ids."""
    records = catalog.records(np.asarray(rows, dtype=np.int32))
    return [{name: value for name, value in record.items() if name != "item_id"} for record in records]


def title_of(item_id: str, fields: Mapping[str, Any]) -> str:
    """Return what to call an item."""
    named = [fields[name] for name in TITLES if fields.get(name)]
    texts = [value for value in fields.values() if isinstance(value, str) and value.strip()]
    return str(next(iter([*named, *texts]), item_id))


def item_view(recommender: Recommender, item_id: str, put: bool) -> ItemView:
    """Return an item with its text as each retriever indexes it.

    Args:
        recommender: holds it.
        item_id: its id.
        put: whether a caller of the service has put it; decides what `trained` is where the bundle holds no log.

    Raises:
        NotFound: no such item.
    """
    catalog = recommender.catalog
    row = int(catalog.items.get([item_id])[0])
    if row < 0:
        raise NotFound("there is no such item")
    log = recommender.histories
    trained = not put if log is None else row < log.catalog_size
    state = "active" if catalog.active[row] else "removed"
    return ItemView(item_id, fields_of(catalog, [row])[0], state, _texts(recommender, row), trained)  # type: ignore[arg-type]


def _texts(recommender: Recommender, row: int) -> dict[str, str]:
    """The text of an item by retriever that knows items by one."""
    from llmrec.errors import TemplateError
    from llmrec.text import Template, render_items

    found = {}
    for stage in recommender.stages:
        for retriever, _ in stage.retrievers:
            template = getattr(retriever, "item_template", None)
            if isinstance(template, Template):
                try:
                    text = render_items(template, recommender.catalog, np.asarray([row], dtype=np.int32))[0]
                except TemplateError:  # a removed item may lack what the template cannot do without
                    text = ""
                found[retriever.name] = text
    return found


def items_page(recommender: Recommender, cursor: str | None, limit: int, find: str | None) -> Page[ItemView]:
    """Return some items of a catalog in row order, without their texts; see `Service.items`.

    Raises:
        BadRequest: the cursor is none of ours, or of a catalog that was replaced.
    """
    catalog = recommender.catalog
    rows = _found(catalog, _start(catalog, cursor), limit + 1, (find or "").strip())
    shown, more = rows[:limit], len(rows) > limit
    ids = catalog.items.decode(shown)
    fitted = len(catalog) if recommender.histories is None else recommender.histories.catalog_size
    views = tuple(
        ItemView(item_id, fields, "active" if catalog.active[row] else "removed", trained=row < fitted)
        for item_id, fields, row in zip(ids, fields_of(catalog, shown.tolist()), shown.tolist(), strict=True)
    )
    return Page(views, _cursor(ids[-1]) if more else None)


def _found(catalog: Catalog, start: int, limit: int, find: str) -> Int64Array:
    """The first rows from `start` on that hold a text, at most `limit`."""
    if not find:
        return np.arange(start, min(start + limit, len(catalog)), dtype=np.int64)
    rows: Int64Array = np.empty(0, dtype=np.int64)
    while start < len(catalog) and len(rows) < limit:
        part = catalog.table.slice(start, PART)
        rows = np.concatenate([rows, start + _holding(part, find)])
        start += PART
    return rows[:limit]


def _holding(table: Any, find: str) -> Int64Array:
    """The places in a table whose id or one of whose fields holds a text, whatever its case."""
    import pyarrow as pa
    import pyarrow.compute as pc

    held = np.zeros(len(table), dtype=np.bool_)
    for column in table.columns:
        if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
            texts = pa.array([None if value is None else str(value) for value in column.to_pylist()], pa.string())
        else:
            texts = column.cast(pa.string())
        match = pc.fill_null(pc.match_substring(texts, find, ignore_case=True), False)
        held |= np.asarray(match.to_pylist(), dtype=np.bool_)
    return np.flatnonzero(held)


def _cursor(item_id: str) -> str:
    return base64.urlsafe_b64encode(b"i" + item_id.encode()).decode().rstrip("=")


def _start(catalog: Catalog, cursor: str | None) -> int:
    """The row after the one that a cursor names."""
    if not cursor:
        return 0
    try:
        raw = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, UnicodeError, ValueError) as error:
        raise BadRequest("the cursor is none of ours; begin without one") from error
    row = int(catalog.items.get([raw[1:]])[0]) if raw.startswith("i") else -1
    if row < 0:
        raise BadRequest("the cursor is none of ours, or of a catalog that was replaced; begin without one")
    return row + 1
