"""Lists that were handed out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, select, tuple_

from llmrec.serve.problems import NotFound, Problem
from llmrec.serve.records import Impression
from llmrec.serve.store._plain import dumped, finite, loaded, plain, plain_or_none
from llmrec.serve.store._sql import counter, insert_missing
from llmrec.serve.store._tables import IMPRESSIONS

__all__ = ["add", "between", "one", "row_of"]

_DAY_S = 86_400

_NAMES = tuple(column.name for column in IMPRESSIONS.c if column.name not in {"day", "event_seq"})
_COLUMNS = tuple(IMPRESSIONS.c[name] for name in _NAMES)


def row_of(impression: Impression) -> dict[str, Any]:
    """What is stored of an impression.

    Raises:
        Unprocessable: a value cannot be stored.
    """
    lists: dict[str, list[Any] | None] = {
        "items": list(impression.items),
        "scores": list(impression.scores),
        "propensities": None if impression.propensities is None else list(impression.propensities),
        "sources": None if impression.sources is None else list(impression.sources),
    }
    time = finite("time", impression.time) or 0.0
    return {
        "id": plain("impression_id", impression.id),
        "user_id": plain_or_none("user_id", impression.user_id),
        "alias": plain("alias", impression.alias),
        "bundle": plain("bundle", impression.bundle),
        **{name: None if value is None else dumped(name, value) for name, value in lists.items()},
        "time": time,
        "degraded": impression.degraded,
        "experiment": plain_or_none("experiment", impression.experiment),
        "variant": plain_or_none("variant", impression.variant),
        "unit": plain_or_none("unit", impression.unit),
        "day": int(time // _DAY_S),
    }


def add(connection: Connection, several: Sequence[Sequence[dict[str, Any]]]) -> list[Problem | None]:
    """Store the rows of several callers; one whose id is there already is the same list told again."""
    seq = counter(connection, "events")
    insert_missing(connection, IMPRESSIONS, [{**row, "event_seq": seq} for rows in several for row in rows])
    return [None] * len(several)


def one(connection: Connection, impression_id: str) -> Impression | None:
    """By id."""
    row = connection.execute(select(*_COLUMNS).where(IMPRESSIONS.c.id == impression_id)).one_or_none()
    return None if row is None else _impression(row)


def between(
    connection: Connection, start: float, end: float, experiment: str | None, limit: int, after: str
) -> list[Impression]:
    """Handed out at `start` or later and before `end`, oldest first, from behind the impression `after`.

    Raises:
        NotFound: there is no impression `after` (any more).
    """
    wanted = [IMPRESSIONS.c.time >= start, IMPRESSIONS.c.time < end]
    if experiment is not None:
        wanted.append(IMPRESSIONS.c.experiment == experiment)
    if after:
        time = connection.execute(select(IMPRESSIONS.c.time).where(IMPRESSIONS.c.id == after)).scalar_one_or_none()
        if time is None:
            raise NotFound("The impression to go on after is not known; its user may have been erased. Begin again.")
        wanted.append(tuple_(IMPRESSIONS.c.time, IMPRESSIONS.c.id) > tuple_(time, after))
    order = (IMPRESSIONS.c.time, IMPRESSIONS.c.id)
    found = connection.execute(select(*_COLUMNS).where(*wanted).order_by(*order).limit(limit))
    return [_impression(row) for row in found]


def _impression(row: Row[Any]) -> Impression:
    values = dict(zip(_NAMES, row, strict=True))
    for name in ("items", "scores", "propensities", "sources"):
        values[name] = None if values[name] is None else tuple(loaded(values[name]))
    return Impression(**values)
