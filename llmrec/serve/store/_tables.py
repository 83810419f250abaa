"""The tables as the newest migration leaves them; a test compares the two."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, LargeBinary, MetaData, Table, Text
from sqlalchemy.types import TypeEngine

__all__ = [
    "COUNTERS",
    "DEPLOYMENTS",
    "ERASED",
    "EVENTS",
    "IDEMPOTENCY",
    "IMPRESSIONS",
    "ITEMS",
    "JOBS",
    "KEYS",
    "METADATA",
    "MODELS",
    "PROFILES",
    "SECRETS",
    "VALUES",
    "VERSION_TABLE",
]

VERSION_TABLE = "llmrec_version"
"""Where Alembic notes the revision; the prefix lets the tables live in a database beside others."""

METADATA = MetaData()


def _id() -> TypeEngine[str]:
    """Ids order by code point in both databases, whatever the locale of the PostgreSQL server."""
    return Text().with_variant(Text(collation="C"), "postgresql")


def _seq() -> TypeEngine[int]:
    """64 bits in both; in SQLite the row's own number."""
    return BigInteger().with_variant(Integer(), "sqlite")


COUNTERS = Table(
    "llmrec_counters",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

SECRETS = Table(
    "llmrec_secrets",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

EVENTS = Table(
    "llmrec_events",
    METADATA,
    Column("seq", _seq(), primary_key=True, autoincrement=False),
    Column("event_id", _id(), nullable=False, unique=True),
    Column("user_id", _id()),
    Column("item_id", _id(), nullable=False),
    Column("kind", _id(), nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("rating", Float(53)),
    Column("impression_id", _id()),
    Column("place", BigInteger),
)
Index("llmrec_events_user", EVENTS.c.user_id, EVENTS.c.seq)
Index("llmrec_events_impression", EVENTS.c.impression_id)

IMPRESSIONS = Table(
    "llmrec_impressions",
    METADATA,
    Column("id", _id(), primary_key=True),
    Column("user_id", _id()),
    Column("alias", _id(), nullable=False),
    Column("bundle", _id(), nullable=False),
    Column("items", Text, nullable=False),
    Column("scores", Text, nullable=False),
    Column("propensities", Text),
    Column("time", Float(53), nullable=False),
    Column("degraded", Boolean, nullable=False),
    Column("experiment", _id()),
    Column("variant", _id()),
    Column("sources", Text),
    Column("day", Integer, nullable=False),  # of 86,400 s since the epoch, UTC: counted by without asking a clock
    Column("event_seq", BigInteger, nullable=False, server_default="0"),  # newest event when it was handed out
    Column("unit", _id()),
)
Index("llmrec_impressions_user", IMPRESSIONS.c.user_id)
Index("llmrec_impressions_time", IMPRESSIONS.c.time, IMPRESSIONS.c.id)
Index("llmrec_impressions_experiment", IMPRESSIONS.c.experiment, IMPRESSIONS.c.time)

ITEMS = Table(
    "llmrec_items",
    METADATA,
    Column("seq", _seq(), nullable=False, unique=True),
    Column("item_id", _id(), primary_key=True),
    Column("fields", Text, nullable=False),
    Column("state", Text, nullable=False),
)

PROFILES = Table(
    "llmrec_profiles",
    METADATA,
    Column("user_id", _id(), primary_key=True),
    Column("profile", Text, nullable=False),
)

ERASED = Table(
    "llmrec_erased",
    METADATA,
    Column("mark", LargeBinary, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("time", Float(53), nullable=False),
)

MODELS = Table(
    "llmrec_models",
    METADATA,
    Column("mark", LargeBinary, primary_key=True),
    Column("bundle", _id(), primary_key=True),
)

IDEMPOTENCY = Table(
    "llmrec_idempotency",
    METADATA,
    Column("mark", LargeBinary, primary_key=True),
    Column("content", LargeBinary, nullable=False),
    Column("nonce", LargeBinary, nullable=False),
    Column("repeats", Text, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("time", Float(53), nullable=False, index=True),
)

KEYS = Table(
    "llmrec_keys",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("per_minute", BigInteger),
    Column("created", Float(53), nullable=False),
    Column("revoked", Boolean, nullable=False),
    Column("digest", LargeBinary, nullable=False),
)

DEPLOYMENTS = Table(
    "llmrec_deployments",
    METADATA,
    Column("seq", _seq(), primary_key=True, autoincrement=False),
    Column("alias", _id(), nullable=False, index=True),
    Column("path", Text, nullable=False),
    Column("bundle", Text, nullable=False),
    Column("time", Float(53), nullable=False),
    Column("why", Text, nullable=False),
)

JOBS = Table(
    "llmrec_jobs",
    METADATA,
    Column("id", _id(), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("asked", Text, nullable=False),
    Column("progress", Float(53), nullable=False),
    Column("message", Text, nullable=False),
    Column("result", Text, nullable=False),
    Column("created", Float(53), nullable=False),
    Column("updated", Float(53), nullable=False),
)

VALUES = Table(
    "llmrec_values",
    METADATA,
    Column("space", _id(), primary_key=True),
    Column("name", _id(), primary_key=True),
    Column("value", Text, nullable=False),
)
