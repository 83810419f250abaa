"""A split as files: what may be learned from, and who is asked what, for libraries that are not llmrec."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec.errors import LlmrecError

if TYPE_CHECKING:
    from llmrec.data import Dataset, Holdout, Interactions
    from llmrec.types import Int64Array, Queries

__all__ = ["write_split"]

CARD = "protocol.json"


def write_split(out: Path, data: Dataset, by: str, min_interactions: int, suffix: str) -> dict[str, Any]:
    """Write a split into a new folder, in one piece.

    Files: `train`; `validation` and `test` (or `test-NAME`, where a split asks in several ways), one target a user;
    `validation-histories` and so on: the histories the targets are asked with, oldest first. Columns: user_id, item_id
    and, where the log has them, timestamp, weight, kind, rating.

    Args:
        out: the folder; it must not exist.
        data: what is split.
        by: one of `llmrec.data.SPLITS`.
        min_interactions: users with fewer are not asked about.
        suffix: "parquet" or "csv".

    Returns:
        What protocol.json beside the files holds: rows of each file, and the protocol card of each test.

    Raises:
        DataError: the log does not allow this split.
        LlmrecError: the files cannot be written.
    """
    from llmrec.data import check_leakage, split_by
    from llmrec.evaluate import split_card

    made = split_by(by, data.interactions, data.catalog.items, min_interactions)
    check_leakage(made)
    tests = {"test" if len(made.tests) == 1 else f"test-{name.replace(' ', '-')}": name for name in made.tests}
    tables = {"train": _log_table(made.train, data)}
    for file, holdout in {"validation": made.validation, **{f: made.tests[n] for f, n in tests.items()}}.items():
        tables[file] = _targets_table(holdout, data)
        tables[f"{file}-histories"] = _histories_table(holdout.queries, holdout.user_rows, data)
    cards = {file: split_card(made, name, data.interactions) for file, name in tests.items()}
    card = {
        "files": {f"{name}.{suffix}": len(table) for name, table in tables.items()},
        "protocols": {file: {"text": str(found), **found.to_dict()} for file, found in cards.items()},
    }
    _write(out, tables, suffix, card)
    return card


def _write(out: Path, tables: dict[str, Any], suffix: str, card: dict[str, Any]) -> None:
    from pyarrow import csv, parquet

    write = csv.write_csv if suffix == "csv" else parquet.write_table
    out = out.expanduser().resolve()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        try:
            for name, table in tables.items():
                write(table, staging / f"{name}.{suffix}")
            (staging / CARD).write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            staging.chmod(0o755)
            staging.rename(out)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise LlmrecError(f"cannot write the split {out}: {error.strerror or error}") from error


def _log_table(log: Interactions, data: Dataset) -> Any:
    return _histories_table(log.queries(), np.arange(log.n_users, dtype=np.int64), data)


def _histories_table(queries: Queries, user_rows: Int64Array, data: Dataset) -> Any:
    """A row for each interaction in the histories of the queries."""
    import pyarrow as pa

    owners = np.repeat(user_rows, np.diff(queries.offsets))
    columns: dict[str, Any] = {
        "user_id": pa.array(data.interactions.users.decode(owners), pa.string()),
        "item_id": pa.array(data.catalog.items.decode(queries.items), pa.string()),
    }
    if queries.times is not None:
        columns["timestamp"] = pa.array(queries.times)
    if queries.weights is not None:
        columns["weight"] = pa.array(queries.weights)
    if queries.kinds is not None:
        names = [*queries.kind_names, None]  # -1, no kind, takes the last
        columns["kind"] = pa.array([names[kind] for kind in queries.kinds], pa.string())
    if queries.ratings is not None:
        columns["rating"] = pa.array(queries.ratings, mask=np.isnan(queries.ratings))
    return pa.table(columns)


def _targets_table(holdout: Holdout, data: Dataset) -> Any:
    """A row for each case: who is asked, what the answer is and, where there are times, when it was."""
    import pyarrow as pa

    columns: dict[str, Any] = {
        "user_id": pa.array(data.interactions.users.decode(holdout.user_rows), pa.string()),
        "item_id": pa.array(data.catalog.items.decode(holdout.targets), pa.string()),
    }
    if holdout.queries.at is not None:
        columns["timestamp"] = pa.array(holdout.queries.at)
    return pa.table(columns)
