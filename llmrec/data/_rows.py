"""Which rows of a table are still in, and telling the tally of the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from llmrec.data._tally import Tally
from llmrec.types import BoolArray, Int64Array

__all__ = ["Rows"]

Places = Callable[[Int64Array], Int64Array]


class Rows:
    """The rows of a table, taken out class by class; a row is counted in the first class it falls in."""

    def __init__(self, table: Any, places: Places, tally: Tally) -> None:
        """Begin with all rows in.

        Args:
            table: pa.Table.
            places: given rows, Int64[m], where they are in the source.
            tally: told of every row that is taken out.
        """
        self.kept: BoolArray = np.ones(table.num_rows, dtype=np.bool_)
        self._table, self._places, self._tally = table, places, tally

    def reject(self, name: str, wrong: BoolArray, shown: Any) -> None:
        """Take out the rows that are wrong and still in.

        Args:
            name: the class.
            wrong: Bool[n].
            shown: Arrow column of length n that holds what is wrong.
        """
        if not wrong.any():
            return
        rows = np.flatnonzero(wrong & self.kept).astype(np.int64)
        self.kept[rows] = False
        self._tally.reject(
            name,
            self._places(rows),
            _values(shown, rows),
            lambda: list(self._table.take(pa.array(rows)).to_pylist()),
        )

    def repaired(self, name: str, touched: BoolArray, shown: Any) -> None:
        """Count the rows that are in and were repaired."""
        rows = np.flatnonzero(touched & self.kept).astype(np.int64)
        self._tally.mark(name, "repaired", self._places(rows), _values(shown, rows))

    def note(self, name: str, noted: BoolArray) -> None:
        """Count rows that are in and worth a note."""
        rows = np.flatnonzero(noted & self.kept).astype(np.int64)
        self._tally.mark(name, "noted", self._places(rows))


def _values(column: Any, rows: Int64Array) -> Callable[[int], Sequence[Any]]:
    return lambda n: list(column.take(pa.array(rows[:n])).to_pylist())
