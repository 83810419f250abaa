"""Counts for the monitor and for experiments, made by the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Subquery, func, literal_column, select

from llmrec.serve.store._plain import loaded
from llmrec.serve.store._tables import EVENTS, IMPRESSIONS
from llmrec.serve.store.outcomes import Outcome

__all__ = ["by_day", "outcomes"]

_COUNTED = {"click": "clicks", "like": "likes", "buy": "buys", "dismiss": "dismissals"}
_DAY_S = 86_400
_NO_NAME: ColumnElement[str] = literal_column("''")  # a parameter would not be the same expression to GROUP BY

# Who is told from others: a user, else whoever has the same key; the unit of somebody of whom neither is known is None,
# and each of their lists stands for itself.
_KNOWN: ColumnElement[str] = func.coalesce(IMPRESSIONS.c.user_id, IMPRESSIONS.c.unit)
_UNIT: ColumnElement[str] = func.coalesce(_KNOWN, IMPRESSIONS.c.id)


def by_day(connection: Connection, start: float, end: float) -> list[dict[str, Any]]:
    """Lists that were handed out in the time, and what was done on them whenever; newest day first.

    The same done twice to an item of one list counts once.
    """
    group = (IMPRESSIONS.c.day, IMPRESSIONS.c.alias, IMPRESSIONS.c.bundle)
    window = (IMPRESSIONS.c.time >= start, IMPRESSIONS.c.time < end)
    lists = connection.execute(select(*group, func.count()).where(*window).group_by(*group)).all()
    rows = {(day, alias, bundle): Counter(impressions=count) for day, alias, bundle, count in lists}
    did = _did(tuple(_COUNTED), *window)
    statement = (
        select(*group, did.c.kind, func.count())
        .join_from(IMPRESSIONS, did, did.c.impression_id == IMPRESSIONS.c.id)
        .group_by(*group, did.c.kind)
    )
    for day, alias, bundle, kind, count in connection.execute(statement):
        if (day, alias, bundle) in rows:  # else it came between the two statements
            rows[day, alias, bundle][_COUNTED[kind]] = count
    names = ("impressions", *_COUNTED.values())
    return [
        {
            "alias": alias,
            "bundle": bundle,
            "day": _date(day),
            **{name: rows[day, alias, bundle][name] for name in names},
        }
        for day, alias, bundle in sorted(rows, key=lambda row: (-row[0], row[1:]))
    ]


def outcomes(connection: Connection, experiment: str, after_seq: int) -> list[Outcome]:
    """Of each unit and variant, by the time of the first list.

    Args:
        connection: to read with.
        experiment: its name.
        after_seq: only lists that were handed out when there was an event of this number or a greater one.
    """
    wanted = (IMPRESSIONS.c.experiment == experiment, IMPRESSIONS.c.event_seq >= after_seq)
    variant = func.coalesce(IMPRESSIONS.c.variant, _NO_NAME)
    group = (_UNIT, _KNOWN, variant)
    first = func.min(IMPRESSIONS.c.time)
    lists = connection.execute(
        select(*group, func.count(), first).where(*wanted).group_by(*group).order_by(first, _UNIT, variant)
    ).all()
    did = _did(("click", "buy"), *wanted)
    joined = did.join(IMPRESSIONS, did.c.impression_id == IMPRESSIONS.c.id)
    whose = (_UNIT, _KNOWN, variant, did.c.kind)
    counts = {
        tuple(row[:4]): row[4]
        for row in connection.execute(select(*whose, func.count()).select_from(joined).group_by(*whose))
    }
    sources = _source_clicks(connection, wanted)
    return [
        Outcome(
            user_id,
            of,
            count,
            counts.get((key, user_id, of, "click"), 0),
            counts.get((key, user_id, of, "buy"), 0),
            sources.get((key, of), {}),
            time,
        )
        for key, user_id, of, count, time in lists
    ]


def _did(kinds: tuple[str, ...], *wanted: ColumnElement[bool]) -> Subquery:
    """What was done to which item of which list, each once."""
    return (
        select(EVENTS.c.impression_id, EVENTS.c.item_id, EVENTS.c.kind)
        .join(IMPRESSIONS, IMPRESSIONS.c.id == EVENTS.c.impression_id)
        .where(EVENTS.c.kind.in_(kinds), *wanted)
        .distinct()
        .subquery()
    )


def _source_clicks(
    connection: Connection, wanted: tuple[ColumnElement[bool], ...]
) -> dict[tuple[str, str], Mapping[str, int]]:
    """Clicks of interleaved lists by (unit, variant), then by source."""
    did = _did(("click",), *wanted, IMPRESSIONS.c.sources.is_not(None))
    columns = (_UNIT, func.coalesce(IMPRESSIONS.c.variant, _NO_NAME), IMPRESSIONS.c["items"], IMPRESSIONS.c.sources)
    joined = did.join(IMPRESSIONS, did.c.impression_id == IMPRESSIONS.c.id)
    found: dict[tuple[str, str], Counter[str]] = {}
    for key, variant, items, sources, item_id in connection.execute(
        select(*columns, did.c.item_id).select_from(joined)
    ):
        source = dict(zip(loaded(items), loaded(sources), strict=False)).get(item_id)
        if source is not None:
            found.setdefault((key, variant), Counter())[source] += 1
    return {key: dict(sorted(counts.items())) for key, counts in found.items()}


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * _DAY_S, UTC).strftime("%Y-%m-%d")
