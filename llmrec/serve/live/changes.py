"""Items that callers put, changed or removed: checked against catalogs, and applied to a recommender."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmrec.errors import DataError
from llmrec.serve.problems import Unprocessable
from llmrec.serve.records import ItemState
from llmrec.types import Item

if TYPE_CHECKING:
    from llmrec.data import Catalog
    from llmrec.pipeline import Recommender
    from llmrec.serve.store import Store

__all__ = ["CaughtUp", "ItemChange", "apply_changes", "check_changes", "merged", "with_stored_items"]

PAGE = 1000
"""Items of the store that are read at once."""


@dataclass(frozen=True, slots=True)
class ItemChange:
    """An item as it is to be.

    Attributes:
        item_id: its id.
        fields: those that were given; None empties a field.
        state: whether it may be recommended.
    """

    item_id: str
    fields: Mapping[str, Any]
    state: ItemState


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """A recommender over the catalog as it is now.

    Attributes:
        recommender: with what the store knows of items.
        item_seq: the newest change of an item that was read; 0: none ever.
        left_out: items that do not fit the bundle's catalog, and stay in it as they were.
    """

    recommender: Recommender
    item_seq: int
    left_out: int


@dataclass(slots=True)
class _Plan:
    """What to do with a catalog, in this order."""

    add: list[Item] = field(default_factory=list)
    change: list[Item] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)


def merged(items: Iterable[tuple[str, Mapping[str, Any], ItemState]]) -> list[ItemChange]:
    """Return one change an item: fields of later ones win, and so does the last state."""
    found: dict[str, ItemChange] = {}
    for item_id, fields, state in items:
        before = found.get(item_id)
        known = {} if before is None else before.fields
        found[item_id] = ItemChange(item_id, {**known, **fields}, state)
    return list(found.values())


def check_changes(catalogs: Mapping[str, Catalog], items: Sequence[tuple[str, Mapping[str, Any], ItemState]]) -> None:
    """Check that items fit.

    A field must be known to the catalog of one alias at least, and its value must fit in each that knows it.

    Args:
        catalogs: by alias.
        items: ids, fields and states, as they were given.

    Raises:
        Unprocessable: names the place of the item and the field; never its id or a value.
    """
    schemas = {alias: catalog.table.schema for alias, catalog in catalogs.items()}
    names = {name for catalog in catalogs.values() for name in catalog.columns[1:]}
    put = {item_id for item_id, _, state in items if state == "active"}
    for place, (item_id, fields, state) in enumerate(items):
        if not isinstance(item_id, str) or not item_id:
            raise Unprocessable(f"items[{place}]: an item's id is a text that is not empty")
        where = f"items[{place}]"
        if unknown := sorted(set(fields) - names):
            raise Unprocessable(f"{where}: unknown fields {unknown}; the catalog has {sorted(names)}")
        there = item_id in put or any(item_id in catalog.items for catalog in catalogs.values())
        if state == "removed" and not there:
            raise Unprocessable(f"{where}: there is no such item to remove")
        for alias, schema in schemas.items():
            _check_values(f"{where}, alias {alias!r}", schema, fields)


def apply_changes(recommender: Recommender, changes: Sequence[ItemChange]) -> Recommender:
    """Return a recommender that knows the items as they are to be; the same one where nothing differs.

    Fields that its catalog does not have are left out: another alias has them.

    Raises:
        DataError: a value does not fit a column, or a component cannot read it.
        ConfigError: a policy cannot do with what is left.
    """
    plan = _planned(recommender.catalog, changes)
    if plan.add:
        recommender = recommender.add_items(plan.add)
    if plan.change:
        recommender = recommender.change_items(plan.change)
    if plan.remove:
        recommender = recommender.remove_items(plan.remove)
    return recommender


def with_stored_items(recommender: Recommender, store: Store, after: int = 0) -> CaughtUp:
    """Return a recommender with what has become of items, as far as that fits its catalog.

    Items that do not fit were put when another bundle was served, whose columns were others: they must neither keep
    this one from being served nor from being fitted again, and are counted.

    Args:
        recommender: of a bundle, or what came of it.
        store: items and what they are now.
        after: the newest change that is in the recommender.

    Raises:
        Unavailable: the store does not answer.
    """
    left_out = 0
    while items := store.items_after(after, PAGE):
        changes = [ItemChange(item.item_id, item.fields, item.state) for item in items]
        recommender, unfit = _as_far_as_they_fit(recommender, changes)
        left_out, after = left_out + unfit, items[-1].seq
    return CaughtUp(recommender, after, left_out)


def _as_far_as_they_fit(recommender: Recommender, changes: Sequence[ItemChange]) -> tuple[Recommender, int]:
    """The recommender with all changes that fit, and how many do not: found by halving, for each copies arrays."""
    try:
        return apply_changes(recommender, changes), 0
    except DataError:
        if len(changes) == 1:
            return recommender, 1
    middle, unfit = len(changes) // 2, 0
    for half in (changes[:middle], changes[middle:]):
        recommender, more = _as_far_as_they_fit(recommender, half)
        unfit += more
    return recommender, unfit


def _check_values(where: str, schema: Any, fields: Mapping[str, Any]) -> None:
    import pyarrow as pa

    for name, value in fields.items():
        place = schema.get_field_index(name)
        if place < 0:
            continue
        kind = schema.field(place).type
        try:
            pa.array([value], type=kind)
        except (ValueError, TypeError, OverflowError) as error:  # Arrow's own errors are among these
            raise Unprocessable(f"{where}: field {name!r} must be of type {kind}") from error


def _planned(catalog: Catalog, changes: Sequence[ItemChange]) -> _Plan:
    plan = _Plan()
    columns = catalog.columns[1:]
    rows = catalog.items.get([change.item_id for change in changes])
    records = dict(zip(rows[rows >= 0].tolist(), catalog.records(rows[rows >= 0]), strict=True))
    for change, row in zip(changes, rows.tolist(), strict=True):
        fields = {name: change.fields[name] for name in columns if name in change.fields}
        gone = change.state == "removed"
        # one that came and went has a row too: what people did with it is part of their histories
        if row < 0 and (fields or not gone):
            plan.add.append(Item(change.item_id, fields))
        if gone:
            if (row < 0 and fields) or (row >= 0 and catalog.active[row]):
                plan.remove.append(change.item_id)
        elif row < 0:
            continue
        elif not catalog.active[row]:
            # it comes back as what it was, but for what was given since
            before = {name: records[row][name] for name in columns}
            plan.add.append(Item(change.item_id, {**before, **fields}))
        elif differing := {name: value for name, value in fields.items() if records[row][name] != value}:
            plan.change.append(Item(change.item_id, differing))
    return plan
