"""Events: added for several callers at once, each of them once, and read in the order of their numbers."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace

from sqlalchemy import Connection, RowMapping, delete, func, insert, select

from llmrec.serve.problems import Conflict, Problem
from llmrec.serve.records import Added, NewEvent, StoredEvent
from llmrec.serve.store._plain import finite, plain, plain_or_none, whole
from llmrec.serve.store._sql import chunks, counter, mark, next_seq
from llmrec.serve.store._tables import EVENTS, IDEMPOTENCY

__all__ = ["Batch", "add", "after", "batch_of", "dismissed", "of_user", "prune"]

_COLUMNS = tuple(EVENTS.c)
_NAMES = tuple(column.name for column in _COLUMNS)


@dataclass(frozen=True, slots=True)
class Batch:
    """What a caller wants stored, checked.

    Attributes:
        events: all of them or none.
        now: seconds since the epoch; the time of those that have none.
        key: mark of the caller and its idempotency key; None: no key.
        content: mark of the events as they came.
        nonce: what the ids of events without one are made of.
    """

    events: tuple[NewEvent, ...]
    now: float
    key: bytes | None
    content: bytes
    nonce: bytes

    def ids(self, nonce: bytes) -> tuple[str, ...]:
        """Of each event; those of the service follow from the nonce, so that they can be told again."""
        return tuple(
            hashlib.sha256(nonce + place.to_bytes(8, "big")).hexdigest()[:32] if given is None else given
            for place, given in enumerate(event.event_id for event in self.events)
        )


def batch_of(
    events: Sequence[NewEvent], *, now: float, idempotency_key: str | None, caller: str, secret: bytes
) -> Batch:
    """The events as a batch.

    Raises:
        Unprocessable: a value cannot be stored.
    """
    checked = tuple(_checked(event, place) for place, event in enumerate(events))
    content = mark(secret, "events", json.dumps([astuple(event) for event in checked]))
    key = None if idempotency_key is None else mark(secret, "idempotency", caller, idempotency_key)
    return Batch(checked, now, key, content, secrets.token_bytes(16))


def add(connection: Connection, batches: Sequence[Batch]) -> list[Added | Problem]:
    """Store what is new of each batch, in one insert; what each caller is told."""
    first_answers = _first_answers(connection, batches)
    known = _known(connection, batches)
    seq = counter(connection, "events")
    rows: list[dict[str, object]] = []
    answers: list[Added | Problem] = []
    records: list[dict[str, object]] = []
    for batch in batches:
        before = None if batch.key is None else first_answers.get(batch.key)
        if before is not None:
            answers.append(_again(batch, before))
            continue
        ids = batch.ids(batch.nonce)
        repeats = []
        for event_id, event in zip(ids, batch.events, strict=True):
            repeats.append(event_id in known)
            if event_id not in known:
                known.add(event_id)
                rows.append(_row(seq + len(rows) + 1, event_id, event, batch.now))
        added = Added(ids, tuple(repeats), seq + len(rows))
        answers.append(added)
        if batch.key is not None:
            record = _record(batch, added)
            first_answers[batch.key] = record
            records.append(record)
    if rows:
        next_seq(connection, "events", len(rows))
        connection.execute(insert(EVENTS), rows)
    if records:
        connection.execute(insert(IDEMPOTENCY), records)
    return answers


def prune(connection: Connection, before: float) -> int:
    """Forget the idempotency keys that were used before a time, in seconds since the epoch; how many."""
    return connection.execute(delete(IDEMPOTENCY).where(IDEMPOTENCY.c.time < before)).rowcount


def after(connection: Connection, seq: int, limit: int) -> list[StoredEvent]:
    """The `limit` oldest events after a number, oldest first."""
    statement = select(*_COLUMNS).where(EVENTS.c.seq > seq).order_by(EVENTS.c.seq).limit(limit)
    return [StoredEvent(*row) for row in connection.execute(statement)]


def of_user(connection: Connection, user_id: str, seq: int, limit: int) -> list[StoredEvent]:
    """The `limit` newest events of a user after a number, oldest first."""
    mine = (EVENTS.c.user_id == user_id, EVENTS.c.seq > seq)
    statement = select(*_COLUMNS).where(*mine).order_by(EVENTS.c.seq.desc()).limit(limit)
    return [StoredEvent(*row) for row in connection.execute(statement)][::-1]


def dismissed(connection: Connection, user_id: str) -> frozenset[str]:
    """Items whose last "dismiss" came after their last "restore"."""
    about = (EVENTS.c.user_id == user_id, EVENTS.c.kind.in_(("dismiss", "restore")))
    last = select(func.max(EVENTS.c.seq)).where(*about).group_by(EVENTS.c.item_id)
    statement = select(EVENTS.c.item_id).where(EVENTS.c.seq.in_(last), EVENTS.c.kind == "dismiss")
    return frozenset(connection.execute(statement).scalars())


def _checked(event: NewEvent, place: int) -> NewEvent:
    here = f"events[{place}]"
    return replace(
        event,
        user_id=plain_or_none(f"{here}.user_id", event.user_id),
        item_id=plain(f"{here}.item_id", event.item_id),
        kind=plain(f"{here}.kind", event.kind),
        time=whole(f"{here}.time", event.time),
        rating=finite(f"{here}.rating", event.rating),
        event_id=plain_or_none(f"{here}.event_id", event.event_id),
        impression_id=plain_or_none(f"{here}.impression_id", event.impression_id),
        place=whole(f"{here}.place", event.place),
    )


def _first_answers(connection: Connection, batches: Sequence[Batch]) -> dict[bytes, Mapping[str, object] | RowMapping]:
    keys = {batch.key for batch in batches if batch.key is not None}
    found: dict[bytes, Mapping[str, object] | RowMapping] = {}
    for some in chunks(keys):
        for row in connection.execute(select(IDEMPOTENCY).where(IDEMPOTENCY.c.mark.in_(some))).mappings():
            found[bytes(row["mark"])] = row
    return found


def _known(connection: Connection, batches: Sequence[Batch]) -> set[str]:
    """The callers' own ids that are there already; ours are random."""
    given = {event.event_id for batch in batches for event in batch.events if event.event_id is not None}
    known: set[str] = set()
    for some in chunks(given):
        known.update(connection.execute(select(EVENTS.c.event_id).where(EVENTS.c.event_id.in_(some))).scalars())
    return known


def _again(batch: Batch, before: Mapping[str, object] | RowMapping) -> Added | Problem:
    if before["content"] != batch.content:
        return Conflict("The idempotency key was used for other events before. Take a new key for new events.")
    repeats = tuple(letter == "1" for letter in str(before["repeats"]))
    nonce, last_seq = before["nonce"], before["last_seq"]
    assert isinstance(nonce, bytes)
    assert isinstance(last_seq, int)
    return Added(batch.ids(nonce), repeats, last_seq)


def _row(seq: int, event_id: str, event: NewEvent, now: float) -> dict[str, object]:
    time = int(now) if event.time is None else event.time
    values = (seq, event_id, event.user_id, event.item_id, event.kind, time, event.rating)
    return dict(zip(_NAMES, (*values, event.impression_id, event.place), strict=True))


def _record(batch: Batch, added: Added) -> dict[str, object]:
    """Of an idempotency key. Nothing in it names a user, an item or an event, so that nothing need be erased."""
    return {
        "mark": batch.key,
        "content": batch.content,
        "nonce": batch.nonce,
        "repeats": "".join("01"[repeat] for repeat in added.repeats),
        "last_seq": added.last_seq,
        "time": batch.now,
    }
