"""Counting what cleaning finds, and keeping the rejected rows."""

from __future__ import annotations

import ast
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from llmrec.data.report import CLASSES, HARMLESS, Example, Finding, Outcome, Part, PartReport
from llmrec.data.vocab import Vocab
from llmrec.errors import DataError, UnknownIdError
from llmrec.types import Int64Array

__all__ = ["BadRow", "RejectFile", "Tally"]

_EXAMPLES = 5
_LONGEST = 60

Rows = Callable[[], Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class BadRow:
    r"""A row of a file that cannot be read at all.

    Attributes:
        name: its class.
        place: its line, from 1.
        detail: what exactly is wrong.
        raw: the row as it stands; bytes that are not UTF-8 are written as \xNN.
    """

    name: str
    place: int
    detail: str
    raw: str


class RejectFile:
    """A JSONL file of rejected rows, in place only when all of it is written.

    Each line holds "part", "source", "unit" ("line" or "row"), "place" (from 1), "class", "reason" and "row": the
    row's values by column, or the text of a row that cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._draft = path.with_name(f".{path.name}.{os.getpid()}.part")

    def __enter__(self) -> Self:
        try:
            self._file = self._draft.open("w", encoding="utf-8", newline="\n")
        except OSError as error:
            raise DataError(f"cannot write rejected rows to {self.path}: {error}") from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()
        if kind is None:
            self._draft.replace(self.path)
        else:
            self._draft.unlink()

    def write(self, values: Mapping[str, Any]) -> None:
        """Write one line."""
        self._file.write(json.dumps(values, ensure_ascii=False, default=str) + "\n")


@dataclass(slots=True)
class _Class:
    outcome: Outcome
    count: int = 0
    examples: list[Example] = field(default_factory=list)


@dataclass(slots=True)
class Tally:
    """Counts the rows of one source; `report` balances them.

    Attributes:
        part: what the source holds.
        source: the file, or the type of the object.
        unit: what places count.
        sink: where rejected rows go, or None.
        read: rows read so far.
        repaired: rows repaired so far.
    """

    part: Part
    source: str
    unit: Literal["line", "row"]
    sink: RejectFile | None = None
    read: int = 0
    repaired: int = 0
    _classes: dict[str, _Class] = field(default_factory=dict)

    @property
    def what(self) -> str:
        """The source in words, for messages."""
        return f"{self.part} {self.source}" if self.unit == "line" or "." in self.source else self.part

    def reject_bad(self, rows: Sequence[BadRow]) -> None:
        """Count rows that cannot be read; they are rows read, too."""
        self.read += len(rows)
        for row in rows:
            self._count(row.name, "rejected", [row.place], [row.detail], 1)
            self._keep(row.name, row.place, f"{CLASSES[row.name]}: {row.detail}", row.raw)

    def reject(self, name: str, places: Int64Array, values: Callable[[int], Sequence[Any]], rows: Rows) -> None:
        """Count rows of a class as rejected.

        Args:
            name: the class.
            places: Int64[m], where they are.
            values: given a number, the offending values of that many rows from the first.
            rows: all m rows, asked for only if they are kept.
        """
        if not len(places):
            return
        self._count(name, "rejected", places[:_EXAMPLES].tolist(), _shown(values), len(places))
        if self.sink is not None:
            for place, value, row in zip(places.tolist(), values(len(places)), rows(), strict=True):
                self._keep(name, place, CLASSES[name] + ("" if value is None else f": {value!r}"), row)

    def mark(
        self, name: str, outcome: Outcome, places: Int64Array, values: Callable[[int], Sequence[Any]] | None = None
    ) -> None:
        """Count rows of a class that are repaired or only noted; arguments as for `reject`."""
        if len(places):
            first = places[:_EXAMPLES].tolist()
            self._count(name, outcome, first, [""] * len(first) if values is None else _shown(values), len(places))

    def note(self, name: str, count: int) -> None:
        """Count rows of a class that are only noted, without examples."""
        if count:
            self._count(name, "noted", [], [], count)

    def report(self) -> PartReport:
        """Return the balanced report."""
        findings = tuple(
            Finding(name, found.outcome, found.count, tuple(found.examples))
            for name in CLASSES
            if (found := self._classes.get(name))
        )
        rejected = sum(found.count for found in findings if found.outcome == "rejected")
        return PartReport(
            self.part,
            self.source,
            self.unit,
            read=self.read,
            accepted=self.read - self.repaired - rejected,
            repaired=self.repaired,
            rejected=rejected,
            findings=findings,
        )

    def check(self, items: Vocab | None = None) -> None:
        """Raise one error that lists all classes of rejected rows, unless there are only harmless ones.

        Args:
            items: the catalog's ids, for a log: the one nearest to the first unknown item is named.

        Raises:
            UnknownIdError: the items of some interactions are not in the catalog, and nothing else is wrong.
            DataError: rows cannot be used.
        """
        report = self.report()
        bad = [f for f in report.findings if f.outcome == "rejected" and f.name not in HARMLESS]
        if not bad:
            return
        listed = "; ".join(f"{f.count:,} {f.name} ({CLASSES[f.name]}; {report.places(f)})" for f in bad)
        kind = UnknownIdError if [f.name for f in bad] == ["unknown_item"] else DataError
        found = self._classes.get("unknown_item")
        raise kind(
            f"{sum(f.count for f in bad):,} of {report.read:,} rows of the {self.what} cannot be used: {listed}. "
            f"{_hint(found, items)}"
            "Correct them, or go on without them: on_error 'skip' drops and counts them, 'quarantine' also writes "
            "them to a file (--on-error skip|quarantine)."
        )

    def _count(self, name: str, outcome: Outcome, places: Sequence[int], values: Sequence[str], count: int) -> None:
        found = self._classes.setdefault(name, _Class(outcome))
        found.count += count
        room = _EXAMPLES - len(found.examples)
        found.examples += [Example(place, value) for place, value in zip(places, values, strict=True)][:room]

    def _keep(self, name: str, place: int, reason: str, row: Mapping[str, Any] | str) -> None:
        if self.sink is not None:
            where = {"part": self.part, "source": self.source, "unit": self.unit, "place": place}
            self.sink.write(
                {**where, "class": name, "reason": reason, "row": row if isinstance(row, str) else _json(row)}
            )


def _json(row: Mapping[str, Any]) -> dict[str, Any]:
    """Write numbers that JSON does not have as text."""
    return {k: str(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


def _hint(unknown: _Class | None, items: Vocab | None) -> str:
    """Name the known id nearest to the first unknown one."""
    if unknown is None or items is None:
        return ""
    near = items.nearest(ast.literal_eval(unknown.examples[0].value))
    return f"The nearest known item to {unknown.examples[0].value} is {near!r}. " if near is not None else ""


def _shown(values: Callable[[int], Sequence[Any]]) -> list[str]:
    return ["" if value is None else _short(repr(value)) for value in values(_EXAMPLES)]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
