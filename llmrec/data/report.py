"""What cleaning did: every row that was read is accepted, repaired or rejected, and every class is counted by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Literal, Self

__all__ = ["CLASSES", "HARMLESS", "CleaningReport", "Example", "Finding", "Outcome", "Part", "PartReport"]

Part = Literal["catalog", "interactions", "users"]
Outcome = Literal["rejected", "repaired", "noted"]

CLASSES: Mapping[str, str] = MappingProxyType(
    {
        # a row that cannot be read
        "not_utf8": "not UTF-8",
        "wrong_width": "wrong number of values",
        "bad_quotes": "quotes that do not wrap a value",
        "bad_json": "not a JSON object",
        # a catalog or user table
        "missing_id": "no id",
        "bad_id": "not an id; ids are text or whole numbers",
        "empty_text": "a required field holds nothing",
        "duplicate_id": "the id is in an earlier row",
        "colliding_id": "after repair the id is that of an earlier row",
        # an interaction
        "missing_kind": "no kind",
        "unknown_kind": "a kind without a weight",
        "dropped_kind": "a kind of weight 0",
        "missing_user": "no user id",
        "missing_item": "no item id",
        "unknown_item": "the item is not in the catalog",
        "missing_time": "no time",
        "bad_time": "not a time; times are whole seconds or ISO 8601, alike in all rows",
        "bad_weight": "not a finite weight",
        "bad_rating": "not a finite rating",
        "duplicate_row": "an earlier row says the same",
        # repaired
        "padded_id": "spaces around the id were removed",
        "control_characters": "control or invisible characters were removed",
        "not_nfc": "text was brought to Unicode NFC",
        # noted, and not counted among the rejected
        "no_text": "the item has no text at all",
        "unordered_times": "earlier than the row before; sorted by time",
        "folded": "a later interaction with the same item; the oldest is kept",
    }
)
"""Every class of finding and what it means."""

HARMLESS = frozenset({"dropped_kind", "duplicate_row"})
"""Classes of rejected rows that never stop a load: the settings ask for them, or nothing is lost."""

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a finding.

    Attributes:
        place: the line of the file or the row of the table, from 1.
        value: what was found there, as text; empty if there is nothing to show.
    """

    place: int
    value: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One class of rows.

    Attributes:
        name: the class, a key of `CLASSES`.
        outcome: what became of the rows.
        count: how many rows.
        examples: the first few.
    """

    name: str
    outcome: Outcome
    count: int
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True, slots=True)
class PartReport:
    """What became of the rows of one source.

    Attributes:
        part: what the source held.
        source: the file, or the type of the object.
        unit: what the places of examples count.
        read: rows of the source.
        accepted: rows taken as they were.
        repaired: rows taken after a repair.
        rejected: rows left out; read = accepted + repaired + rejected.
        findings: by class. A rejected row is counted in one class, a repaired one in as many as apply.
    """

    part: Part
    source: str
    unit: Literal["line", "row"]
    read: int
    accepted: int
    repaired: int
    rejected: int
    findings: tuple[Finding, ...] = ()

    def __post_init__(self) -> None:
        if self.read != self.accepted + self.repaired + self.rejected:
            raise ValueError(f"{self.read} rows read are not {self.accepted} + {self.repaired} + {self.rejected}")
        if self.rejected != sum(f.count for f in self.findings if f.outcome == "rejected"):
            raise ValueError(f"the classes of rejected rows do not add up to {self.rejected}")

    def count(self, name: str) -> int:
        """Return the number of rows of a class; 0 if none was found."""
        return sum(found.count for found in self.findings if found.name == name)

    def places(self, finding: Finding) -> str:
        """Write the first places of a finding: "line 4: 'x', line 9: 'y'"."""
        shown = [f"{self.unit} {e.place}" + (f": {e.value}" if e.value else "") for e in finding.examples[:_SHOWN]]
        return ", ".join(shown)


@dataclass(frozen=True, slots=True)
class CleaningReport:
    """What became of every row of a data set.

    Attributes:
        parts: the catalog, the interactions and, where there are any, the users.
        quarantine: the file that holds the rejected rows, or None.
    """

    parts: tuple[PartReport, ...]
    quarantine: str | None = None

    @property
    def clean(self) -> bool:
        """Whether no row was repaired or rejected."""
        return all(part.repaired + part.rejected == 0 for part in self.parts)

    def part(self, name: Part) -> PartReport:
        """Return the report of one part.

        Raises:
            KeyError: there is no such part.
        """
        for part in self.parts:
            if part.part == name:
                return part
        raise KeyError(name)

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """Return the cells of a table: part, class, outcome, number of rows, first places.

        Every part begins with its rows read, accepted, repaired and rejected.
        """
        table: list[tuple[str, str, str, str, str]] = []
        for part in self.parts:
            table.append((part.part, "", "read", f"{part.read:,}", part.source))
            table += [
                (part.part, "", name, f"{getattr(part, name):,}", "") for name in ("accepted", "repaired", "rejected")
            ]
            table += [(part.part, f.name, f.outcome, f"{f.count:,}", part.places(f)) for f in part.findings]
        return table

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, for `from_dict`."""
        values: dict[str, Any] = asdict(self)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild what `to_dict` returned."""
        return cls(tuple(_part(part) for part in values["parts"]), values.get("quarantine"))


def _part(values: Mapping[str, Any]) -> PartReport:
    findings = tuple(
        Finding(f["name"], f["outcome"], f["count"], tuple(Example(**e) for e in f["examples"]))
        for f in values["findings"]
    )
    return PartReport(**{**values, "findings": findings})
