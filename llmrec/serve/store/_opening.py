"""From a URL to a database whose tables are those of this version of llmrec."""

from __future__ import annotations

import secrets

from sqlalchemy import Connection, inspect, select, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from llmrec.errors import LlmrecError
from llmrec.serve.store._database import Database, parse_url
from llmrec.serve.store._errors import StoreError, code_of
from llmrec.serve.store._sql import insert_missing
from llmrec.serve.store._tables import COUNTERS, SECRETS, VERSION_TABLE
from llmrec.serve.store._writer import lock

__all__ = ["migrate", "opened"]

_TURN = 0x6C6C6D726563
"""PostgreSQL's advisory lock of whoever migrates: "llmrec"."""


def opened(url: str) -> tuple[Database, bytes]:
    """The database with all migrations done, and the secret that its marks are keyed with.

    Args:
        url: as `parse_url` takes it.

    Raises:
        StoreError: it cannot be reached, written, or understood.
        MissingExtraError: its driver is not installed.
    """
    database = Database.connect(parse_url(url))
    try:
        database.write_ahead()
        with database.writing.begin() as connection:
            migrate(connection)
            return database, _ready(connection)
    except LlmrecError:
        database.close()
        raise
    except SQLAlchemyError as error:
        database.close()
        raise StoreError(f"The store {database.name} cannot be opened: {_why(error)}.") from None


def migrate(connection: Connection, revision: str = "head") -> None:
    """Bring the tables up to a revision, in the connection's transaction.

    Args:
        connection: in a transaction that may write.
        revision: of `_migrations`; "head" is the newest.

    Raises:
        StoreError: the tables are of a newer llmrec, or the file belongs to something else.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_TURN})"))
        connection.execute(text("SET LOCAL statement_timeout = 0"))
    config = Config()
    config.set_main_option("script_location", "llmrec.serve.store:_migrations")
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    found = _revision(connection)
    if found is not None and found not in known:
        raise StoreError(f"The store is of a newer llmrec (its tables are of revision {found}). Upgrade llmrec.")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _revision(connection: Connection) -> str | None:
    """Of the tables that are there; None: there are none.

    Raises:
        StoreError: there are only others, in a file of SQLite: it was named by mistake.
    """
    tables = inspect(connection).get_table_names()
    if VERSION_TABLE in tables:
        found: str | None = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
        return found
    if tables and connection.dialect.name == "sqlite":
        raise StoreError("The store's file holds tables of something else. Name another file.")
    return None


def _ready(connection: Connection) -> bytes:
    """Make what must be there once, and return the store's secret."""
    insert_missing(connection, COUNTERS, [{"name": name, "value": 0} for name in ("events", "items", "deployments")])
    lock(connection)
    insert_missing(connection, SECRETS, [{"name": "marks", "value": secrets.token_bytes(32)}])
    found: bytes = connection.execute(select(SECRETS.c.value).where(SECRETS.c.name == "marks")).scalar_one()
    return bytes(found)


def _why(error: SQLAlchemyError) -> str:
    """In one line; the person who opens a store may read what the database says."""
    said = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    lines = str(said).strip().splitlines()
    return f"{lines[0].rstrip('.') if lines else type(said).__name__} ({code_of(error)})"
