"""Migrations of the store, oldest first; Alembic finds them by the path of this package."""

from __future__ import annotations

__all__: list[str] = []
