"""Results on disk: one SQLite file, a row for each template and judge, with what every user got.

A row is written when a template is measured, so that a run that was killed loses the one it was at. Several processes
may use one file: SQLite's write-ahead log lets them read while one writes. Rows are found again by what they depend on
(template, model, cases, data, seed), so that results of different days can be compared user by user.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from llmrec.data import Holdout
from llmrec.errors import ConfigError
from llmrec.lab.ground import Float64Array
from llmrec.lab.judges import Measured
from llmrec.lab.orders import OrderTest
from llmrec.text import Template

__all__ = ["Run", "Store", "default_store", "run_key"]

FORMAT = 1
"""Of the file."""

METHOD = 1
"""Of judging: raise it whenever a judge would give other numbers for the same template; all is measured anew then."""

APPLICATION = 0x6C6C6D72
"""Marks the file as ours: "llmr"."""

PATIENCE_S = 60.0
"""How long to wait for somebody else who is writing; a row takes milliseconds."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    key TEXT PRIMARY KEY,
    at TEXT NOT NULL,
    llmrec TEXT NOT NULL,
    judge TEXT NOT NULL,
    note TEXT NOT NULL,
    template TEXT NOT NULL,
    kind TEXT NOT NULL,
    version INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    source TEXT NOT NULL,
    data_hash TEXT NOT NULL,
    cases TEXT NOT NULL,
    model TEXT NOT NULL,
    seed INTEGER NOT NULL,
    about TEXT NOT NULL,
    tokens TEXT NOT NULL,
    ms_per_user REAL NOT NULL,
    seconds REAL NOT NULL,
    orders TEXT,
    users BLOB NOT NULL,
    ranks BLOB NOT NULL
)
"""


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A template as a judge measured it.

    Attributes:
        key: of what it depends on; see `run_key`.
        at: when, UTC, ISO 8601.
        judge: the judge's name.
        note: what a reader must know of the judge.
        template: the template, by its name of that day.
        data_hash: of the data.
        cases: fingerprint of who was asked what.
        user_rows: Int64[n], whose ranks they are.
        measured: what was found.
    """

    key: str
    at: str
    judge: str
    note: str
    template: Template
    data_hash: str
    cases: str
    user_rows: np.ndarray[Any, np.dtype[np.int64]]
    measured: Measured


def default_store() -> Path:
    """$LLMREC_LAB, or `lab.sqlite` in the user's data folder: results are not a cache that may be emptied."""
    import platformdirs

    chosen = os.environ.get("LLMREC_LAB")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_data_dir("llmrec")) / "lab.sqlite"


def run_key(prompts: tuple[Template, ...], about: Mapping[str, Any]) -> str:
    """Sha256 (hex) of what a result depends on: what the model is told, and all else; see `Judge.about`."""
    # "format" is what METHOD was first called; another word would make every result of before unknown
    told = {"format": METHOD, "prompts": [prompt.fingerprint for prompt in prompts], "about": dict(about)}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


class Store:
    """Results in one file.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        """Open a file of results, or begin one.

        Raises:
            ConfigError: it is something else, another program's, of a newer llmrec, or cannot be written.
        """
        self.path = path.expanduser()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error
        with self._opened() as database:
            self._check(database)
            database.execute("PRAGMA journal_mode = WAL")
            with database:
                database.execute("BEGIN IMMEDIATE")  # who looks meanwhile sees all of it or nothing
                database.execute(SCHEMA)
                database.execute(f"PRAGMA application_id = {APPLICATION}")
                database.execute(f"PRAGMA user_version = {FORMAT}")

    def _check(self, database: sqlite3.Connection) -> None:
        """Raise ConfigError for a file of somebody else's, or of a newer llmrec; nothing is written to it."""
        with database:
            database.execute("BEGIN")
            mark, version = (database.execute(f"PRAGMA {x}").fetchone()[0] for x in ("application_id", "user_version"))
            tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type <> 'index'")]
        # files of before were not marked; they have a version, and our table alone
        unmarked = mark == 0 and (tables == ["runs"] if version else not tables)
        if mark != APPLICATION and not unmarked:
            raise ConfigError(f"{self.path} is a database of another program; name another file with --store")
        if version > FORMAT:
            raise ConfigError(f"{self.path} was written by a newer llmrec (format {version}); update llmrec")

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=PATIENCE_S)) as database:
                database.row_factory = sqlite3.Row
                yield database
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> ConfigError:
        return ConfigError(f"{self.path} cannot be used as a store of results ({error}); name another with --store")

    def get(self, key: str) -> Run | None:
        """The result of this key, or None."""
        with self._opened() as database:
            row = database.execute("SELECT * FROM runs WHERE key = ?", (key,)).fetchone()
        return None if row is None else _run(row)

    def runs(self) -> list[Run]:
        """All results, oldest first."""
        with self._opened() as database:
            rows = database.execute("SELECT * FROM runs ORDER BY rowid").fetchall()
        return [_run(row) for row in rows]

    def add(self, run: Run, about: Mapping[str, Any]) -> None:
        """Write a result; one that another process wrote meanwhile stays."""
        with self._opened() as database, database:
            row = _row(run, about)
            names = ", ".join(row)
            marks = ", ".join("?" * len(row))
            database.execute(f"INSERT OR IGNORE INTO runs ({names}) VALUES ({marks})", tuple(row.values()))


def new_run(
    key: str, judge: str, note: str, template: Template, data_hash: str, cases: Holdout, found: Measured
) -> Run:
    """A result of now."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    users = np.asarray(cases.user_rows, dtype=np.int64)
    return Run(key, at, judge, note, template, data_hash, cases.fingerprint, users, found)


def _row(run: Run, about: Mapping[str, Any]) -> dict[str, Any]:
    from importlib.metadata import version

    found, template = run.measured, run.template
    return {
        "key": run.key,
        "at": run.at,
        "llmrec": version("llmrec"),
        "judge": run.judge,
        "note": run.note,
        "template": template.name,
        "kind": template.kind,
        "version": template.version,
        "fingerprint": template.fingerprint,
        "source": json.dumps(template.to_dict()),
        "data_hash": run.data_hash,
        "cases": run.cases,
        "model": str(about.get("model", "")),
        "seed": int(about.get("seed", 0)),
        "about": json.dumps(dict(about), sort_keys=True),
        "tokens": json.dumps(dict(found.tokens)),
        "ms_per_user": found.ms_per_user,
        "seconds": found.seconds,
        "orders": None if found.orders is None else json.dumps(found.orders.to_dict()),
        "users": _blob(run.user_rows, "<i8"),
        "ranks": _blob(found.ranks, "<f8"),
    }


def _run(row: sqlite3.Row) -> Run:
    orders = None if row["orders"] is None else OrderTest.from_dict(json.loads(row["orders"]))
    ranks: Float64Array = np.frombuffer(row["ranks"], "<f8").astype(np.float64)
    measured = Measured(ranks, json.loads(row["tokens"]), row["ms_per_user"], row["seconds"], orders)
    users = np.frombuffer(row["users"], "<i8").astype(np.int64)
    template = Template.from_dict(json.loads(row["source"]))
    return Run(
        row["key"], row["at"], row["judge"], row["note"], template, row["data_hash"], row["cases"], users, measured
    )


def _blob(values: np.ndarray[Any, Any], dtype: str) -> bytes:
    """Numbers as bytes, in the order every machine reads alike."""
    return np.ascontiguousarray(values, dtype=dtype).tobytes()
