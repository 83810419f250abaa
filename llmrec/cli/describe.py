"""What is in a data set, in numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from llmrec.data import Dataset, Interactions
    from llmrec.types import Int64Array

__all__ = ["described", "shown", "text_tokens"]

_QUANTILES = {"min": 0.0, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "max": 1.0}
_FROM, _UNTIL = 10**8, 10**11
"""Seconds since 1970 that a whole number may be taken for: 1973 to 5138. Others are shown as they are."""


def described(data: Dataset) -> dict[str, Any]:
    """Count what is there, as JSON values; what the data do not have is None."""
    log = data.interactions
    cells = len(data.catalog) * log.n_users
    return {
        "name": data.name,
        "items": len(data.catalog),
        "users": log.n_users,
        "interactions": len(log),
        "density": len(log) / cells if cells else None,
        "histories": _spread(np.diff(log.offsets)),
        "popularity": _popularity(np.bincount(log.items, minlength=len(data.catalog)).astype(np.int64)),
        "times": _times(log),
        "kinds": _kinds(log),
        "weights": None if log.weights is None else _spread(log.weights),
        "ratings": None if log.ratings is None else _spread(log.ratings[~np.isnan(log.ratings)]),
        "item_fields": _fields(data.catalog.table),
        "user_fields": None if data.users is None else _fields(data.users.table),
    }


def text_tokens(data: Dataset, encoder: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Count the tokens of every item's text, written by the template dense retrieval uses, as a model reads it."""
    from llmrec.models.reader import TextReader
    from llmrec.retrieve import DenseConfig
    from llmrec.text import load_template, render_items

    settings = DenseConfig()
    reader = TextReader.load(encoder, max_tokens=settings.max_tokens, progress=say)
    say(f"counting the tokens of {len(data.catalog):,} items")
    counts = np.asarray(reader.count_tokens(render_items(load_template(settings.item_template), data.catalog)))
    cut = int((counts > reader.text_budget).sum())
    own = {"encoder": encoder, "template": settings.item_template, "read": reader.text_budget, "items_cut": cut}
    return {**own, "lengths": _spread(counts)}


def shown(facts: Mapping[str, Any]) -> dict[str, list[tuple[str, ...]]]:
    """Lay the facts out as tables, by title; the first row of each is its header."""
    counts: list[tuple[str, ...]] = [
        ("", ""),
        *((name, f"{facts[name]:,}") for name in ("items", "users", "interactions")),
    ]
    counts += [("density", "" if facts["density"] is None else f"{facts['density']:.5%}")]
    counts += [(f"popularity: {name}", _number(value)) for name, value in facts["popularity"].items()]
    counts += [(f"times: {name}", str(value)) for name, value in (facts["times"] or {}).items()]
    counts += [(f"kind {name}", f"{count:,}") for name, count in (facts["kinds"] or {}).items()]
    tokens = facts.get("tokens")
    if tokens is not None:
        counts += [("template", tokens["template"]), (f"tokens {tokens['encoder']} reads", str(tokens["read"]))]
        counts += [("items longer than that", f"{tokens['items_cut']:,}")]
    spreads = {"interactions a user": facts["histories"], "weights": facts["weights"], "ratings": facts["ratings"]}
    spreads["tokens of an item"] = None if tokens is None else tokens["lengths"]
    tables: dict[str, list[tuple[str, ...]]] = {f"The data: {facts['name']}": counts, "How much": _spread_rows(spreads)}
    for title, fields in (("Fields of items", facts["item_fields"]), ("Fields of users", facts["user_fields"])):
        if fields is not None:
            tables[title] = _field_rows(fields)
    return tables


def _spread_rows(spreads: Mapping[str, Mapping[str, float] | None]) -> list[tuple[str, ...]]:
    known = {name: spread for name, spread in spreads.items() if spread is not None}
    return [("", *_QUANTILES, "mean"), *((name, *map(_number, spread.values())) for name, spread in known.items())]


def _field_rows(fields: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("field", "filled", "distinct", "median characters", "longest")]
    for name, field in fields.items():
        lengths = (_number(field[key]) for key in ("median_characters", "longest"))
        rows.append((name, f"{field['filled']:.1%}", f"{field['distinct']:,}", *lengths))
    return rows


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _spread(values: Any) -> dict[str, float] | None:
    """Quantiles and mean; None if there are no values."""
    if len(values) == 0:
        return None
    cuts = np.quantile(values, list(_QUANTILES.values()), method="nearest")
    return {**dict(zip(_QUANTILES, cuts.tolist(), strict=True)), "mean": float(np.mean(values, dtype=np.float64))}


def _popularity(counts: Int64Array) -> dict[str, Any]:
    """How unevenly interactions fall on items; shares of all interactions, and the Gini index (0: evenly)."""
    falling = np.sort(counts)[::-1]
    total, n = int(falling.sum()), len(falling)
    top = {f"top_{p}_percent": float(falling[: max(1, n * p // 100)].sum() / total) if total else None for p in (1, 10)}
    weights = 2 * np.arange(n, 0, -1) - n - 1
    gini = float((weights * falling).sum() / (n * total)) if total else None
    return {"never_taken": int((counts == 0).sum()), **top, "gini": gini}


def _times(log: Interactions) -> dict[str, Any] | None:
    if log.times is None or len(log) == 0:
        return None
    first, last = int(log.times.min()), int(log.times.max())
    if not _FROM <= first <= last < _UNTIL:
        return {"first": first, "last": last, "unit": "as in the source"}
    shown = (datetime.fromtimestamp(time, UTC).isoformat() for time in (first, last))
    return {"first": next(shown), "last": next(shown), "unit": "seconds since 1970"}


def _kinds(log: Interactions) -> dict[str, int] | None:
    if log.kinds is None:
        return None
    counts = np.bincount(log.kinds[log.kinds >= 0], minlength=len(log.kind_names))
    return dict(zip(log.kind_names, counts.tolist(), strict=True))


def _fields(table: Any) -> dict[str, dict[str, Any]]:
    """Of every field but the id: the share of rows that hold something, distinct values, characters."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = {}
    for name in table.column_names[1:]:
        column = table.column(name)
        text = (
            column.cast(pa.string()) if not pa.types.is_nested(column.type) else pa.array(map(str, column.to_pylist()))
        )
        lengths = np.asarray(pc.utf8_length(text.drop_null()))
        lengths = lengths[lengths > 0]
        found[name] = {
            "filled": len(lengths) / len(column) if len(column) else 0.0,
            "distinct": len(set(text.to_pylist()) - {None, ""}),
            "median_characters": int(np.median(lengths)) if len(lengths) else None,
            "longest": int(lengths.max()) if len(lengths) else None,
        }
    return found
