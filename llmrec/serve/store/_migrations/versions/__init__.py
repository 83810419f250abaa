"""A module a revision."""

from __future__ import annotations

__all__: list[str] = []
