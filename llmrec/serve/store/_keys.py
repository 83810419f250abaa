"""Keys: 256 random bits for who asks, a hash of them for the store."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from llmrec.serve.problems import NotFound, Unprocessable
from llmrec.serve.records import Key, Scope
from llmrec.serve.store._plain import dumped, loaded, plain
from llmrec.serve.store._tables import KEYS

__all__ = ["by_secret", "every", "new", "revoke", "save"]

_SHAPE = re.compile(r"llmrec_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_SCOPES = ("read", "feedback", "admin")


def new(name: str, scopes: Sequence[Scope], per_minute: int | None, now: float) -> tuple[Key, str]:
    """A key that is not stored yet, and its secret.

    Raises:
        Unprocessable: it names no scope, an unknown one, or a rate below 1.
    """
    if not scopes or not set(scopes) <= set(_SCOPES):
        raise Unprocessable(f"A key needs one or more of the scopes {', '.join(_SCOPES)}.")
    if per_minute is not None and per_minute < 1:
        raise Unprocessable("A key's requests a minute must be 1 or more.")
    key = Key(secrets.token_hex(6), plain("name", name), tuple(scopes), per_minute, now)
    return key, f"llmrec_{key.id}_{secrets.token_urlsafe(32)}"


def save(connection: Connection, key: Key, secret: str) -> None:
    """Store a key and the hash of its secret. The secret is random in full, so that a slow hash would add nothing."""
    row = {"id": key.id, "name": key.name, "scopes": dumped("scopes", key.scopes), "per_minute": key.per_minute}
    rest = {"created": key.created, "revoked": key.revoked, "digest": _digest(secret)}
    connection.execute(insert(KEYS), [{**row, **rest}])


def by_secret(connection: Connection, secret: str) -> Key | None:
    """The key that the secret opens; None: there is none, or it was revoked."""
    shape = _SHAPE.fullmatch(secret)
    if shape is None:
        return None
    row = connection.execute(select(KEYS).where(KEYS.c.id == shape.group(1))).one_or_none()
    if row is None or not hmac.compare_digest(bytes(row.digest), _digest(secret)) or row.revoked:
        return None
    return _key(row)


def every(connection: Connection) -> list[Key]:
    """All keys, oldest first, also revoked ones."""
    return [_key(row) for row in connection.execute(select(KEYS).order_by(KEYS.c.created, KEYS.c.id))]


def revoke(connection: Connection, key_id: str) -> None:
    """Let a key open nothing any more.

    Raises:
        NotFound: there is no such key.
    """
    if not connection.execute(update(KEYS).where(KEYS.c.id == key_id).values(revoked=True)).rowcount:
        raise NotFound("There is no key of this id.")


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _key(row: Row[Any]) -> Key:
    return Key(row.id, row.name, tuple(loaded(row.scopes)), row.per_minute, row.created, bool(row.revoked))
