"""What Alembic runs: the migrations, in the transaction of the connection it was given."""

from __future__ import annotations

from alembic import context

from llmrec.serve.store._tables import METADATA, VERSION_TABLE

__all__: list[str] = []

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
    transactional_ddl=True,  # SQLite's is, too, once BEGIN is said aloud
)
with context.begin_transaction():
    context.run_migrations()
