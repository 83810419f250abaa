"""What the service keeps: events, lists that were handed out, items, users, keys, jobs; in SQLite or PostgreSQL."""

from __future__ import annotations

from llmrec.serve.store._errors import StoreError
from llmrec.serve.store._store import Store, open_store
from llmrec.serve.store.outcomes import Outcome

__all__ = ["Outcome", "Store", "StoreError", "open_store"]
