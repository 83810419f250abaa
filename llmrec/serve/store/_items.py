"""Items as the service's callers put them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from llmrec.serve.records import ItemState, StoredItem
from llmrec.serve.store._plain import dumped, loaded
from llmrec.serve.store._sql import chunks, counter, next_seq, put
from llmrec.serve.store._tables import ITEMS

__all__ = ["after", "change", "one"]

_COLUMNS = (ITEMS.c.seq, ITEMS.c.item_id, ITEMS.c.fields, ITEMS.c.state)


def change(connection: Connection, changes: Sequence[tuple[str, Mapping[str, Any], ItemState]]) -> int:
    """Lay the fields over what was put before; the number of the last change, or of the last one before if none."""
    if not changes:
        return counter(connection, "items")
    now: dict[str, tuple[dict[str, Any], ItemState]] = {}
    for some in chunks({item_id for item_id, _fields, _state in changes}):
        for row in connection.execute(select(*_COLUMNS).where(ITEMS.c.item_id.in_(some))):
            item = _item(row)
            now[item.item_id] = (dict(item.fields), item.state)
    changed: dict[str, None] = {}
    for item_id, fields, state in changes:
        before = now[item_id][0] if item_id in now else {}
        now[item_id] = ({**before, **fields}, state)
        changed.pop(item_id, None)  # the last change of an item gives it its place
        changed[item_id] = None
    first = next_seq(connection, "items", len(changed))
    rows = [
        {"seq": seq, "item_id": item_id, "fields": dumped("fields", now[item_id][0]), "state": now[item_id][1]}
        for seq, item_id in enumerate(changed, start=first)
    ]
    put(connection, ITEMS, rows)
    return first + len(changed) - 1


def after(connection: Connection, seq: int, limit: int) -> list[StoredItem]:
    """Items whose last change has a greater number, oldest change first."""
    statement = select(*_COLUMNS).where(ITEMS.c.seq > seq).order_by(ITEMS.c.seq).limit(limit)
    return [_item(row) for row in connection.execute(statement)]


def one(connection: Connection, item_id: str) -> StoredItem | None:
    """By id."""
    row = connection.execute(select(*_COLUMNS).where(ITEMS.c.item_id == item_id)).one_or_none()
    return None if row is None else _item(row)


def _item(row: Sequence[Any]) -> StoredItem:
    seq, item_id, fields, state = row
    return StoredItem(seq, item_id, loaded(fields), state)
