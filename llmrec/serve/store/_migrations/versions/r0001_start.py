"""Events, impressions, items, users, keys, deployments, jobs and values."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

__all__ = ["down_revision", "revision", "upgrade"]

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    _bookkeeping()
    _logged()
    _users()
    _rest()


def _id() -> sa.types.TypeEngine[str]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _seq() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _bookkeeping() -> None:
    op.create_table(
        "llmrec_counters",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("value", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "llmrec_secrets",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("value", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "llmrec_idempotency",
        sa.Column("mark", sa.LargeBinary(), primary_key=True),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("nonce", sa.LargeBinary(), nullable=False),
        sa.Column("repeats", sa.Text(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.Float(53), nullable=False),
    )
    op.create_index("ix_llmrec_idempotency_time", "llmrec_idempotency", ["time"])


def _logged() -> None:
    op.create_table(
        "llmrec_events",
        sa.Column("seq", _seq(), primary_key=True, autoincrement=False),
        sa.Column("event_id", _id(), nullable=False, unique=True),
        sa.Column("user_id", _id()),
        sa.Column("item_id", _id(), nullable=False),
        sa.Column("kind", _id(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("rating", sa.Float(53)),
        sa.Column("impression_id", _id()),
        sa.Column("place", sa.BigInteger()),
    )
    op.create_index("llmrec_events_user", "llmrec_events", ["user_id", "seq"])
    op.create_index("llmrec_events_impression", "llmrec_events", ["impression_id"])
    op.create_table(
        "llmrec_impressions",
        sa.Column("id", _id(), primary_key=True),
        sa.Column("user_id", _id()),
        sa.Column("alias", _id(), nullable=False),
        sa.Column("bundle", _id(), nullable=False),
        sa.Column("items", sa.Text(), nullable=False),
        sa.Column("scores", sa.Text(), nullable=False),
        sa.Column("propensities", sa.Text()),
        sa.Column("time", sa.Float(53), nullable=False),
        sa.Column("degraded", sa.Boolean(), nullable=False),
        sa.Column("experiment", _id()),
        sa.Column("variant", _id()),
        sa.Column("sources", sa.Text()),
        sa.Column("day", sa.Integer(), nullable=False),
    )
    op.create_index("llmrec_impressions_user", "llmrec_impressions", ["user_id"])
    op.create_index("llmrec_impressions_time", "llmrec_impressions", ["time", "id"])


def _users() -> None:
    op.create_table(
        "llmrec_profiles",
        sa.Column("user_id", _id(), primary_key=True),
        sa.Column("profile", sa.Text(), nullable=False),
    )
    op.create_table(
        "llmrec_erased",
        sa.Column("mark", sa.LargeBinary(), primary_key=True),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.Float(53), nullable=False),
    )
    op.create_table(
        "llmrec_models",
        sa.Column("mark", sa.LargeBinary(), primary_key=True),
        sa.Column("bundle", _id(), primary_key=True),
    )


def _rest() -> None:
    op.create_table(
        "llmrec_items",
        sa.Column("seq", _seq(), nullable=False, unique=True),
        sa.Column("item_id", _id(), primary_key=True),
        sa.Column("fields", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
    )
    op.create_table(
        "llmrec_keys",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("per_minute", sa.BigInteger()),
        sa.Column("created", sa.Float(53), nullable=False),
        sa.Column("revoked", sa.Boolean(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "llmrec_deployments",
        sa.Column("seq", _seq(), primary_key=True, autoincrement=False),
        sa.Column("alias", _id(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("bundle", sa.Text(), nullable=False),
        sa.Column("time", sa.Float(53), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
    )
    op.create_index("ix_llmrec_deployments_alias", "llmrec_deployments", ["alias"])
    op.create_table(
        "llmrec_jobs",
        sa.Column("id", _id(), primary_key=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("asked", sa.Text(), nullable=False),
        sa.Column("progress", sa.Float(53), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("created", sa.Float(53), nullable=False),
        sa.Column("updated", sa.Float(53), nullable=False),
    )
    op.create_table(
        "llmrec_values",
        sa.Column("space", _id(), primary_key=True),
        sa.Column("name", _id(), primary_key=True),
        sa.Column("value", sa.Text(), nullable=False),
    )
