"""Lists for nobody known say whom experiments take for one and the same."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

__all__ = ["down_revision", "revision", "upgrade"]

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column."""
    kind = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.add_column("llmrec_impressions", sa.Column("unit", kind))
