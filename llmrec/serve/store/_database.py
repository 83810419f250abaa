"""Connections: what a URL stands for, and how each database is told to keep what it was given.

SQLite writes ahead (WAL) and waits for the disk at every commit (synchronous=FULL), so that readers never wait for the
writer, and overwrites what is deleted (secure_delete). PostgreSQL is asked for `synchronous_commit` where the server
has it off, and every statement has a time limit. Readers and the writer have engines of their own: readers may not
write, and need no transactions.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from llmrec.errors import MissingExtraError
from llmrec.serve.problems import Unavailable
from llmrec.serve.store._errors import StoreError, code_of, is_lost, problem_of

__all__ = ["Database", "parse_url"]

_LOG = logging.getLogger(__name__)

R = TypeVar("R")

BUSY_S = 20.0
"""How long to wait for a writer of another process."""

_CHECKPOINT_S = 5.0
_READERS = 8
_MORE_READERS = 32

_POSTGRES = (
    f"SET lock_timeout = '{BUSY_S:.0f}s'",
    "SET statement_timeout = '60s'",
    "SET idle_in_transaction_session_timeout = '60s'",  # whoever hangs in the middle of a write must let go
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
)


def parse_url(url: str) -> URL:
    """The database that is meant.

    Args:
        url: "sqlite:///file", "postgresql://user@host/database", or a path, which means SQLite.

    Raises:
        StoreError: it is none of these, or a database in memory.
    """
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", url):
        return URL.create("sqlite", database=str(Path(url).expanduser()))
    try:
        found = make_url(url)
    except (ArgumentError, ValueError):
        raise StoreError(f"The store's URL cannot be read. {_HINT}") from None
    match found.drivername:
        case "sqlite" | "sqlite+pysqlite":
            if found.database in {None, "", ":memory:"}:
                raise StoreError(f"A database in memory keeps nothing: name a file. {_HINT}")
            return found.set(drivername="sqlite")
        case "postgresql" | "postgres" | "postgresql+psycopg":
            return found.set(drivername="postgresql+psycopg")
    raise StoreError(f"The store cannot be a {found.drivername!r} database. {_HINT}")


_HINT = "A store is a path, sqlite:///PATH, or postgresql://USER:PASSWORD@HOST/DATABASE."


@dataclass(frozen=True, slots=True, eq=False)
class Database:
    """Both engines of a database. Thread-safe.

    Attributes:
        url: of the database.
        reading: connections in autocommit that may not write.
        writing: connections whose transactions lock out other writers.
    """

    url: URL
    reading: Engine
    writing: Engine
    _closed: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def connect(cls, url: URL) -> Database:
        """The engines; nothing is opened yet.

        Raises:
            MissingExtraError: psycopg is not installed.
        """
        try:
            if url.get_backend_name() == "sqlite":
                return cls(url, _sqlite(url, writes=False), _sqlite(url, writes=True))
            return cls(url, _postgres(url, writes=False), _postgres(url, writes=True))
        except ModuleNotFoundError:
            raise MissingExtraError("psycopg", "postgres") from None

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file."""
        return self.url.get_backend_name() == "sqlite"

    @property
    def name(self) -> str:
        """Where it is, for people; without the password."""
        return self.url.set(query={}, password=None).render_as_string()

    def read(self, work: Callable[[Connection], R]) -> R:
        """What `work` finds; asked again once where the connection had died.

        Raises:
            Problem: what `work` raises.
            Unavailable: the database does not answer.
        """
        try:
            return self._read(work)
        except DBAPIError as error:
            if not is_lost(error):
                raise problem_of(error) from None
        except SQLAlchemyError as error:
            raise problem_of(error) from None
        try:
            return self._read(work)
        except SQLAlchemyError as error:
            raise problem_of(error) from None

    def write_ahead(self) -> None:
        """Turn SQLite's write-ahead log on, which stays on; two processes that do it at once may be told to wait.

        Raises:
            StoreError: the file system cannot have one.
            SQLAlchemyError: the file cannot be opened or written.
        """
        if not self.is_sqlite:
            return
        until = time.monotonic() + BUSY_S
        while True:
            try:
                mode = _pragma(self.url, "journal_mode=WAL", BUSY_S)
                break
            except DBAPIError as error:
                if getattr(error.orig, "sqlite_errorname", "") != "SQLITE_BUSY" or time.monotonic() > until:
                    raise
                time.sleep(0.05)
        if mode != "wal":
            raise StoreError(f"{self.name} cannot have a write-ahead log: keep the store on a local disk.")

    def forget_log(self) -> None:
        """Empty SQLite's write-ahead log into the file, so that nothing erased stays behind in it.

        Waits a little for readers. Where one takes longer, what was erased is gone for everybody who asks the database,
        and gone from the log when that is next emptied; the log of the service says so.
        """
        if not self.is_sqlite:
            return
        try:
            busy = _pragma(self.url, "wal_checkpoint(TRUNCATE)", _CHECKPOINT_S)
        except SQLAlchemyError as error:
            busy = code_of(error)
        if busy:
            _LOG.warning("the write-ahead log could not be emptied after an erasure: %s", busy)

    def close(self) -> None:
        """Close all connections; nothing is read any more."""
        self._closed.set()
        self.reading.dispose()
        self.writing.dispose()

    def _read(self, work: Callable[[Connection], R]) -> R:
        if self._closed.is_set():
            raise Unavailable("The store is closed.")
        with self.reading.connect() as connection:
            return work(connection)


def _pragma(url: URL, pragma: str, timeout: float) -> object:
    """The first value a pragma answers, asked outside of any transaction."""
    alone = create_engine(
        url, connect_args={"timeout": timeout}, poolclass=NullPool, isolation_level="AUTOCOMMIT", hide_parameters=True
    )
    with alone.connect() as connection:
        answer: object = connection.exec_driver_sql(f"PRAGMA {pragma}").scalar()
    return answer


def _sqlite(url: URL, *, writes: bool) -> Engine:
    engine = create_engine(
        url,
        connect_args={"timeout": BUSY_S},
        pool_size=1 if writes else _READERS,
        max_overflow=1 if writes else _MORE_READERS,
        pool_timeout=BUSY_S,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # sqlite3 must not begin transactions of its own
        cursor = connection.cursor()
        for pragma in ("synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        if not writes:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    if writes:

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # else two readers who turn writers would block each other

    return engine


def _postgres(url: URL, *, writes: bool) -> Engine:
    engine = create_engine(
        url,
        connect_args={
            "connect_timeout": 5,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
            "application_name": "llmrec",
        },
        pool_size=1 if writes else _READERS,
        max_overflow=1 if writes else _MORE_READERS,
        pool_timeout=BUSY_S,
        hide_parameters=True,
        isolation_level="READ COMMITTED" if writes else "AUTOCOMMIT",
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        with connection.cursor() as cursor:
            for statement in _POSTGRES:
                cursor.execute(statement)
            if not writes:
                cursor.execute("SET default_transaction_read_only = on")
        connection.commit()

    return engine
