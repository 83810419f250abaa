"""Hypothesis strategies for catalogs and logs, for property tests of anything that takes them."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st

from llmrec.data import Catalog, Interactions

__all__ = ["catalogs", "interaction_tables", "interactions", "item_ids"]


def item_ids() -> st.SearchStrategy[str]:
    """Ids as people write them: any text that UTF-8 can hold, number-like ones with leading zeros included."""
    text = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
    return text | st.from_regex(r"0{0,2}[1-9][0-9]{0,4}", fullmatch=True)


@st.composite
def catalogs(draw: st.DrawFn, min_items: int = 1, max_items: int = 12) -> Catalog:
    """Catalogs with a "title" and a "year", either of which may be null."""
    ids = draw(st.lists(item_ids(), min_size=min_items, max_size=max_items, unique=True))
    texts = st.none() | st.text(st.characters(codec="utf-8"), max_size=20)
    years = st.none() | st.integers(1900, 2030)
    n = len(ids)
    return Catalog.from_table(
        {
            "item_id": ids,
            "title": draw(st.lists(texts, min_size=n, max_size=n)),
            "year": draw(st.lists(years, min_size=n, max_size=n)),
        }
    )


@st.composite
def interaction_tables(draw: st.DrawFn, catalog: Catalog, max_rows: int = 40) -> dict[str, list[Any]]:
    """Columns "user_id", "item_id" and "timestamp" in any order, with repeats and ties; at least one row."""
    row = st.tuples(st.integers(0, 5), st.integers(0, len(catalog) - 1), st.integers(-3, 20))
    rows = draw(st.lists(row, min_size=1, max_size=max_rows))
    return {
        "user_id": [f"u{user}" for user, _, _ in rows],
        "item_id": [catalog.items[item] for _, item, _ in rows],
        "timestamp": [time for _, _, time in rows],
    }


@st.composite
def interactions(draw: st.DrawFn, max_items: int = 12, max_rows: int = 40) -> Interactions:
    """Folded, timed logs over a catalog of their own."""
    catalog = draw(catalogs(max_items=max_items))
    return Interactions.from_table(draw(interaction_tables(catalog, max_rows)), catalog)
