"""What the parts of a template read: columns of clean text, from a catalog, a log, profiles and wishes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec.errors import TemplateError
from llmrec.text._clean import clean_text, clean_values
from llmrec.text.template import Template
from llmrec.types import Float32Array, Int32Array, Int64Array, Queries

if TYPE_CHECKING:
    from llmrec.data import Catalog

__all__ = ["contexts", "entry_values", "item_values", "user_values"]


def contexts(columns: Mapping[str, Sequence[str]], count: int) -> Iterator[dict[str, Any]]:
    """Turn columns of `count` texts into one set of values for each text that is to be rendered."""
    if not columns:
        return ({} for _ in range(count))
    return (dict(zip(columns, record, strict=True)) for record in zip(*columns.values(), strict=True))


def item_values(template: Template, catalog: Catalog, rows: Int32Array | None) -> dict[str, list[str]]:
    """The catalog fields a template declares, "" for columns the catalog lacks.

    Args:
        template: declares the fields.
        catalog: where they are.
        rows: Int32[n], catalog rows; all if None.

    Raises:
        TemplateError: a required field is missing, or empty for an item.
    """
    fields = template.fields_of("item")
    missing = [name for name, field in fields.items() if field.required and name not in catalog.columns]
    if missing:
        raise TemplateError(
            f"template {template.name} requires the field {missing[0]!r}, but the catalog has only: "
            f"{', '.join(catalog.columns)}. Rename a column when the catalog is read, or choose another template"
        )
    present = [name for name in fields if name in catalog.columns]
    table = catalog.table.select(present) if rows is None else catalog.take(rows, present)
    count = len(catalog) if rows is None else len(rows)
    columns = {name: clean_values(table.column(name).to_pylist()) for name in present}
    for name in present:
        if fields[name].required and "" in columns[name]:
            _raise_empty(template, catalog, rows, name, columns[name])
    return {name: columns.get(name) or [""] * count for name in fields}


def _raise_empty(template: Template, catalog: Catalog, rows: Int32Array | None, name: str, values: list[str]) -> None:
    places = [place for place, value in enumerate(values) if not value]
    first = catalog.items[int(places[0] if rows is None else rows[places[0]])]
    raise TemplateError(
        f"template {template.name} requires {name!r}, but {len(places)} of {len(values)} items have none, such "
        f"as item {first!r}. Fill it in, or use a template where {name!r} is not required"
    )


def entry_values(template: Template, catalog: Catalog, queries: Queries) -> tuple[dict[str, list[str]], Int64Array]:
    """What the entries of all histories read, each distinct one once.

    Two interactions make one entry if they have the same item and, of what the template reads, the same rating,
    kind and weight; a template that reads none of these has one entry an item.

    Returns:
        Columns of m texts, and Int64[nnz]: which of the m each interaction is.

    Raises:
        TemplateError: a required field is missing, or empty for an item or interaction.
    """
    items, item_places = np.unique(queries.items, return_inverse=True)
    columns = item_values(template, catalog, items.astype(np.int32))
    fields = template.fields_of("interaction")
    if not fields:
        return columns, item_places.astype(np.int64)
    known = {name: _interaction_values(name, queries) for name in fields}
    codes = item_places.astype(np.int64)
    for name, (texts, places) in known.items():
        lacking = int(np.array([not text for text in texts])[places].sum())
        if fields[name].required and lacking:
            raise TemplateError(
                f"template {template.name} requires the {name} of every interaction, but {lacking} of "
                f"{len(places)} have none. Read the log with its {name}s, or use a template that does not require them"
            )
        # Renumbered in every round, so that the product of the counts never overflows.
        codes = np.unique(codes * len(texts) + places, return_inverse=True)[1]
    _, first, places = np.unique(codes, return_index=True, return_inverse=True)
    entries = {name: [values[place] for place in item_places[first].tolist()] for name, values in columns.items()}
    entries |= {name: [texts[place] for place in of[first].tolist()] for name, (texts, of) in known.items()}
    return entries, places.astype(np.int64)


def _interaction_values(name: str, queries: Queries) -> tuple[list[str], Int64Array]:
    """The distinct texts of "rating", "kind" or "weight", at least one, and Int64[nnz]: which one is whose."""
    if name == "kind":
        if queries.kinds is None or not queries.kind_names:
            return [""], np.zeros(len(queries.items), np.int64)
        names = [*map(clean_text, queries.kind_names), ""]
        return names, np.where(queries.kinds < 0, len(names) - 1, queries.kinds).astype(np.int64)
    values: Float32Array | None = queries.ratings if name == "rating" else queries.weights
    if values is None or len(values) == 0:
        return [""], np.zeros(len(queries.items), np.int64)
    distinct, places = np.unique(values, return_inverse=True)
    return [_number(value) for value in distinct], places.astype(np.int64)


def _number(value: np.float32) -> str:
    """As few digits as tell a float32 from its neighbours: "4", "3.3"; "" where there is none."""
    return "" if np.isnan(value) else np.format_float_positional(value + np.float32(0), trim="-")


def user_values(template: Template, queries: Queries) -> dict[str, list[str]]:
    """What is known of each query beside its history: profile fields and wish.

    Raises:
        TemplateError: a required profile field is missing, or empty for a query.
    """
    n, profiles = len(queries), queries.profiles or {}
    columns = {}
    for name, field in template.fields_of("user").items():
        values = clean_values(profiles[name]) if name in profiles else [""] * n
        if field.required and "" in values:
            raise TemplateError(
                f"template {template.name} requires the profile field {name!r}, but query {values.index('')} has "
                f"none; the profiles have: {', '.join(profiles) or 'nothing'}"
            )
        columns[name] = values
    columns["wish"] = [""] * n if queries.texts is None else clean_values(queries.texts)
    return columns
