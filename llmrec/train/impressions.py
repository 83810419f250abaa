"""What was shown to people and what they clicked, from files and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llmrec.data import Catalog, read_table
from llmrec.errors import DataError, UnknownIdError
from llmrec.types import Csr, Int32Array, Int64Array, Queries

__all__ = ["Impressions", "read_impressions"]

COLUMNS = ("history", "shown", "clicked")


@dataclass(frozen=True, slots=True, eq=False)
class Impressions:
    """Lists that were shown; n of them.

    Attributes:
        queries: n histories as they were then, oldest first.
        clicked: the catalog rows that were clicked, one row a list.
        skipped: those shown beside them that were not.
    """

    queries: Queries
    clicked: Csr
    skipped: Csr

    def __len__(self) -> int:
        return len(self.clicked)

    def pairs(self, per_click: int, *, seed: int) -> tuple[Int64Array, Int32Array]:
        """Draw what was skipped for what was clicked.

        Args:
            per_click: so many of the same list for each click, if there are as many.
            seed: for the draw.

        Returns:
            Int64[m], of which list each pair is; Int32[m, 2], what was clicked and what was not.
        """
        rng, rows, pairs = np.random.default_rng(seed), [], []
        for row in range(len(self)):
            for item in self.clicked[row].tolist():
                drawn = rng.permutation(self.skipped[row])[:per_click].tolist()
                rows += [row] * len(drawn)
                pairs += [(item, other) for other in drawn]
        return np.array(rows, dtype=np.int64), np.array(pairs, dtype=np.int32).reshape(-1, 2)


def read_impressions(source: Any, catalog: Catalog) -> Impressions:
    """Read lists that were shown.

    A history is given, not looked up by user: only what the person had done when the list was shown may be in it, and
    no log can say that of a list without its time.

    Args:
        source: a file (see `llmrec.data.read_table`), a mapping of columns, or anything with an Arrow C stream. Its
            columns: "history", item ids, oldest first; "shown", those of the list, best first; "clicked", those of
            them that were clicked. Each a list of ids, or a text with spaces between ids. Lists without a history,
            without a click, or all clicked, teach nothing and are left out.
        catalog: all items.

    Raises:
        DataError: a column is missing, something was clicked that was not shown, or no list is left.
        UnknownIdError: an id is not in the catalog.
    """
    columns = _columns(source)
    kept: list[tuple[list[int], list[int], list[int]]] = []
    for number, (history, shown, clicked) in enumerate(zip(*columns, strict=True)):
        before, list_, taken = (
            _rows(catalog, ids, name, number) for name, ids in zip(COLUMNS, (history, shown, clicked), strict=True)
        )
        missing = [item for item in taken if item not in list_]
        if missing:
            ids = ", ".join(map(repr, catalog.items.decode(missing[:3])))
            raise DataError(f"row {number + 1} of the impressions: {ids} clicked, but not among what was shown")
        skipped = [item for item in dict.fromkeys(list_) if item not in taken]
        if before and taken and skipped:
            kept.append((before, list(dict.fromkeys(taken)), skipped))
    if not kept:
        raise DataError(
            "no list of the impressions has a history, something that was clicked and something that was not"
        )
    histories, clicks, skips = zip(*kept, strict=True)
    return Impressions(Queries.from_lists(histories), Csr.from_lists(clicks), Csr.from_lists(skips))


def _columns(source: Any) -> list[list[Any]]:
    import pyarrow as pa

    if isinstance(source, str | Path):
        table = read_table(source, COLUMNS)
    else:
        table = pa.table(dict(source) if isinstance(source, Mapping) else source)
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise DataError(
            f"the impressions have no column {missing[0]!r}; they have {', '.join(table.column_names) or 'none'}, and "
            f"need {', '.join(COLUMNS)}"
        )
    return [table[name].to_pylist() for name in COLUMNS]


def _rows(catalog: Catalog, ids: str | Sequence[Any] | None, name: str, number: int) -> list[int]:
    if ids is None:
        return []
    if not isinstance(ids, str | Sequence):
        raise DataError(f"row {number + 1} of the impressions: {name} must be item ids, got {ids!r}")
    texts = ids.split() if isinstance(ids, str) else [str(one) for one in ids]
    try:
        return [int(row) for row in catalog.items.rows(texts)]
    except UnknownIdError as error:
        raise UnknownIdError(f"row {number + 1} of the impressions, {name}: {error}") from None
