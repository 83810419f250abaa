"""The few statements that the two databases spell differently, and what several tables share."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, select, update
from sqlalchemy.dialects import postgresql, sqlite

from llmrec.serve.store._tables import COUNTERS

__all__ = ["chunks", "counter", "insert_missing", "mark", "next_seq", "put"]

T = TypeVar("T")

_CHUNK = 500


def chunks(values: Iterable[T]) -> Iterable[list[T]]:
    """The values, some hundred at a time: databases limit how many a statement may name."""
    several: list[T] = []
    for value in values:
        several.append(value)
        if len(several) == _CHUNK:
            yield several
            several = []
    if several:
        yield several


def insert_missing(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert the rows whose primary key is not there yet."""
    if not rows:
        return
    make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    connection.execute(make(table).on_conflict_do_nothing(index_elements=list(table.primary_key)), list(rows))


def put(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert the rows; one whose primary key is there takes the old one's place."""
    if not rows:
        return
    make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = make(table)
    others = {column.name: statement.excluded[column.name] for column in table.c if not column.primary_key}
    connection.execute(statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=others), list(rows))


def counter(connection: Connection, name: str) -> int:
    """The number that was given last; 0: none."""
    found: int = connection.execute(select(COUNTERS.c.value).where(COUNTERS.c.name == name)).scalar_one()
    return found


def next_seq(connection: Connection, name: str, count: int) -> int:
    """The first of `count` new numbers, which grow by one and are never given again. The caller's turn must last."""
    statement = update(COUNTERS).where(COUNTERS.c.name == name).values(value=COUNTERS.c.value + count)
    connection.execute(statement)
    return counter(connection, name) - count + 1


def mark(secret: bytes, *parts: str) -> bytes:
    """16 bytes that stand for the parts and tell nobody without the secret what they are (HMAC-SHA256, cut).

    Args:
        secret: of the store.
        parts: what it is, and its names; how they are split matters.
    """
    joined = b"".join(len(raw).to_bytes(8, "big") + raw for raw in (p.encode("utf-8", "surrogatepass") for p in parts))
    return hmac.digest(secret, joined, "sha256")[:16]
