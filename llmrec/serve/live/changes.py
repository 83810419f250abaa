"""Items that callers put, changed or removed: checked against catalogs, and applied to a recommender."""

from __future__ import annotations

import logging
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

__all__ = ["ItemChange", "apply_changes", "check_changes", "merged", "replayed"]

LOG = logging.getLogger(__name__)


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


def replayed(recommender: Recommender, changes: Sequence[ItemChange]) -> Recommender:
    """Return the recommender with what the store knows of items; how many do not fit this bundle is logged.

    Such items fitted another bundle, whose columns were others: they must not keep this one from being served.
    """
    try:
        return apply_changes(recommender, changes)
    except DataError:
        lost = 0
        for change in changes:
            try:
                recommender = apply_changes(recommender, [change])
            except DataError:
                lost += 1
        LOG.warning("%d of %d stored items do not fit this bundle's catalog and are left out", lost, len(changes))
        return recommender


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
        if change.state == "removed":
            if row >= 0 and catalog.active[row]:
                plan.remove.append(change.item_id)
        elif row < 0:
            plan.add.append(Item(change.item_id, fields))
        elif not catalog.active[row]:
            # it comes back as what it was, but for what was given since
            before = {name: records[row][name] for name in columns}
            plan.add.append(Item(change.item_id, {**before, **fields}))
        elif differing := {name: value for name, value in fields.items() if records[row][name] != value}:
            plan.change.append(Item(change.item_id, differing))
    return plan
