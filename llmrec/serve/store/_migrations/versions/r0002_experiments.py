"""Impressions know which events were there before them, and are found by experiment."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

__all__ = ["down_revision", "revision", "upgrade"]

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column and the index."""
    op.add_column("llmrec_impressions", sa.Column("event_seq", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_index("llmrec_impressions_experiment", "llmrec_impressions", ["experiment", "time"])
