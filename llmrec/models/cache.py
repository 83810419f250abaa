"""Vectors kept between runs, so that a text is encoded once."""

from __future__ import annotations

import hashlib
import sqlite3
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import numpy as np
from filelock import FileLock

from llmrec.assets import cache_dir
from llmrec.types import BoolArray, Float32Array

__all__ = ["EmbeddingCache"]

_SCHEMA = "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL)"
# Keys per question; SQLite allows 999 in its oldest builds.
_CHUNK = 900
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_Result = TypeVar("_Result")


class EmbeddingCache:
    """Vectors by encoder fingerprint and text, in one SQLite file that any number of processes may share.

    The fingerprint covers all that a vector depends on, so nothing in here can be out of date. A damaged file
    is set aside with a warning and a new one begun; a file that cannot be used now (disk full, read-only,
    locked) costs a warning and the time to encode again, never a result.

    Attributes:
        path: the SQLite file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def default(cls) -> EmbeddingCache:
        """The cache of this user, in the folder `llmrec.assets.cache_dir()` names."""
        return cls(cache_dir() / "embeddings" / "vectors.sqlite")

    def get(self, fingerprint: str, texts: Sequence[str]) -> tuple[Float32Array, BoolArray]:
        """Look up vectors.

        Args:
            fingerprint: the encoder's.
            texts: n texts, as the encoder reads them (prompt included).

        Returns:
            Float32[n, dim], zero where nothing was found, and Bool[n], True where something was. If nothing
            was found at all, `dim` is not known and is 0.
        """
        keys = _keys(fingerprint, texts)
        nothing: dict[bytes, bytes] = {}
        stored = self._guard(lambda: self._read(keys), nothing)
        lengths = {len(blob) for blob in stored.values()}
        dim = max(lengths, default=0) // 4
        vectors, found = np.zeros((len(keys), dim), np.float32), np.zeros(len(keys), np.bool_)
        for row, key in enumerate(keys):
            blob = stored.get(key)
            if blob is not None and len(blob) == 4 * dim:
                vectors[row], found[row] = np.frombuffer(blob, "<f4"), True
        return vectors, found

    def put(self, fingerprint: str, texts: Sequence[str], vectors: Float32Array) -> None:
        """Keep Float32[n, dim] vectors of n texts."""
        if len(texts) != len(vectors):
            raise ValueError(f"{len(texts)} texts but {len(vectors)} vectors")
        rows = np.ascontiguousarray(vectors, dtype="<f4")
        entries = [(key, row.tobytes()) for key, row in zip(_keys(fingerprint, texts), rows, strict=True)]
        self._guard(lambda: self._write(entries), None)

    def __len__(self) -> int:
        return self._guard(self._count, 0)

    def _read(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        if not self.path.exists():
            return found
        with closing(self._open()) as database:
            for start in range(0, len(keys), _CHUNK):
                part = keys[start : start + _CHUNK]
                marks = ",".join("?" * len(part))
                found.update(database.execute(f"SELECT key, vector FROM vectors WHERE key IN ({marks})", part))
        return found

    def _write(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        self._create()
        with closing(self._open()) as database, database:
            database.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", entries)

    def _count(self) -> int:
        if not self.path.exists():
            return 0
        with closing(self._open()) as database:
            return int(database.execute("SELECT count(*) FROM vectors").fetchone()[0])

    def _create(self) -> None:
        """Make the file, whole or not at all: SQLite does not wait its turn when it turns on WAL."""
        if self.path.exists():
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self.path}.lock", timeout=30):
            if self.path.exists():
                return
            fresh = self.path.with_name(f"{self.path.name}.new")
            fresh.unlink(missing_ok=True)
            with closing(sqlite3.connect(fresh)) as database:
                database.execute("PRAGMA journal_mode=WAL")
                database.execute(_SCHEMA)
            fresh.rename(self.path)

    def _open(self) -> sqlite3.Connection:
        # A connection for each use: cheap beside a model call, and safe across threads and forks.
        database = sqlite3.connect(self.path, timeout=30)
        try:
            # A lost last write costs an encoding, not a result, so do not wait for the disk each time.
            database.execute("PRAGMA synchronous=NORMAL")
            database.execute(_SCHEMA)
        except sqlite3.Error:
            database.close()
            raise
        return database

    def _guard(self, use: Callable[[], _Result], otherwise: _Result) -> _Result:
        """Use the file; on trouble warn and go on without it."""
        try:
            return use()
        except (sqlite3.Error, OSError) as error:
            # The low byte is the kind of trouble, the rest its detail.
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE:
                self._set_aside(error)
            else:
                message = f"the embedding cache {self.path} cannot be used now ({error}); going on without it"
                warnings.warn(message, RuntimeWarning, stacklevel=3)
            return otherwise

    def _set_aside(self, error: Exception) -> None:
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        try:
            self.path.rename(aside)
        except OSError:
            aside = self.path
        message = f"the embedding cache {self.path} is damaged ({error}); it was set aside as {aside.name}"
        warnings.warn(message, RuntimeWarning, stacklevel=4)


def _keys(fingerprint: str, texts: Sequence[str]) -> list[bytes]:
    """One sha256 a text; surrogates are kept apart rather than refused."""
    start = hashlib.sha256(f"{fingerprint}\0".encode())
    keys = []
    for text in texts:
        digest = start.copy()
        digest.update(text.encode("utf-8", "surrogatepass"))
        keys.append(digest.digest())
    return keys
