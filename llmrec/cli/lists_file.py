"""Lists of many queries in one file: a row a recommendation (.parquet, .csv), or a line of JSON a query (.jsonl)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec.cli.output import short_score
from llmrec.errors import ConfigError, LlmrecError

if TYPE_CHECKING:
    from llmrec.data import Catalog
    from llmrec.types import Ranking

__all__ = ["BATCH", "SUFFIXES", "Batch", "check_out", "json_lines", "whole_file", "write_lists"]

BATCH = 2_048
"""Queries answered at once; after each batch, progress is reported."""
SUFFIXES = (".parquet", ".csv", ".jsonl")


@dataclass(frozen=True, slots=True)
class Batch:
    """The lists of some queries.

    Attributes:
        keys: what tells the queries apart, n values each: "user_id" (str or None), "request" (int).
        ranking: n lists.
    """

    keys: Mapping[str, Sequence[Any]]
    ranking: Ranking


def check_out(out: Path) -> None:
    """Raise ConfigError, before any work, if a file of this name cannot be written."""
    if out.suffix not in SUFFIXES:
        raise ConfigError(f"--out {out}: the name must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")


def write_lists(out: Path, catalog: Catalog, batches: Iterable[Batch], say: Callable[[int], None]) -> tuple[int, int]:
    """Write lists batch by batch, so that memory stays bounded, and in one piece.

    Whatever happens, there is a whole new file, or what was there before.

    Args:
        out: the file; its name ends in one of `SUFFIXES`.
        catalog: knows the items' ids.
        batches: at least one, with the same keys in all.
        say: told after each batch how many lists are written.

    Returns:
        The number of lists and the number of recommendations written.

    Raises:
        LlmrecError: the file cannot be written.
    """
    with whole_file(out) as partial:
        write = _write_lines if out.suffix == ".jsonl" else _write_rows
        return write(partial, catalog, batches, say)


@contextmanager
def whole_file(out: Path) -> Iterator[Path]:
    """Yield the name of a file to write, which becomes `out` when all went well, and vanishes otherwise.

    Raises:
        LlmrecError: the file cannot be written.
    """
    partial = out.with_name(f".{out.stem}.{os.getpid()}.partial{out.suffix}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            partial.replace(out)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise LlmrecError(f"cannot write {out}: {error.strerror or error}") from error


def json_lines(catalog: Catalog, batch: Batch) -> Iterator[str]:
    """Write each list as a line of JSON: the query's keys (None is left out), and items by rank."""
    shown = batch.ranking.propensities
    for place, (items, scores) in enumerate(zip(batch.ranking.items, batch.ranking.scores, strict=True)):
        ids = catalog.items.decode(items[items >= 0])
        entries = [
            {"rank": rank, "item_id": item, "score": short_score(float(score))}
            for rank, (item, score) in enumerate(zip(ids, scores, strict=False), start=1)
        ]
        if shown is not None:
            for entry, propensity in zip(entries, shown[place], strict=False):
                entry["propensity"] = short_score(float(propensity))
        keys = {name: values[place] for name, values in batch.keys.items() if values[place] is not None}
        yield json.dumps({**keys, "items": entries}, ensure_ascii=False, allow_nan=False) + "\n"


def _write_lines(
    place: Path, catalog: Catalog, batches: Iterable[Batch], say: Callable[[int], None]
) -> tuple[int, int]:
    lists = lines = 0
    with place.open("w", encoding="utf-8", newline="\n") as file:
        for batch in batches:
            file.writelines(json_lines(catalog, batch))
            lists += len(batch.ranking.items)
            lines += int((batch.ranking.items >= 0).sum())
            say(lists)
    return lists, lines


def _write_rows(place: Path, catalog: Catalog, batches: Iterable[Batch], say: Callable[[int], None]) -> tuple[int, int]:
    import pyarrow as pa
    from pyarrow import csv, parquet

    open_writer = csv.CSVWriter if place.suffix == ".csv" else parquet.ParquetWriter
    source = iter(batches)
    first = next(source)
    names = [name for name in ("request", "user_id") if name in first.keys]
    kinds = {"request": pa.int64(), "user_id": pa.string()}
    fields = [*((name, kinds[name]) for name in names), ("rank", pa.int32())]
    explored = first.ranking.propensities is not None
    last = [("propensity", pa.float32())] if explored else []
    schema = pa.schema([*fields, ("item_id", pa.string()), ("score", pa.float32()), *last])
    item_ids = pa.array(catalog.items.ids, pa.string())
    lists = lines = 0
    with open_writer(place, schema) as writer:
        batch: Batch | None = first
        while batch is not None:
            columns = _columns(item_ids, batch, names)
            writer.write_batch(pa.record_batch(columns, schema=schema))
            lists += len(batch.ranking.items)
            lines += len(columns[0])
            say(lists)
            batch = next(source, None)
    return lists, lines


def _columns(item_ids: Any, batch: Batch, names: Sequence[str]) -> list[Any]:
    """Arrow columns: the keys, rank, item_id, score, and propensity where there is one; one row a recommendation.

    Args:
        item_ids: Arrow strings, the id of each catalog row.
        batch: the lists.
        names: of the keys.
    """
    import numpy as np
    import pyarrow as pa

    ranking = batch.ranking
    owners, places = np.nonzero(ranking.items >= 0)
    keys = [pa.array(batch.keys[name]).take(pa.array(owners)) for name in names]
    return [
        *(column.cast(pa.string()) if name == "user_id" else column for name, column in zip(names, keys, strict=True)),
        pa.array(places + 1, pa.int32()),
        item_ids.take(pa.array(ranking.items[owners, places])),
        pa.array(ranking.scores[owners, places], pa.float32()),
        *([] if ranking.propensities is None else [pa.array(ranking.propensities[owners, places], pa.float32())]),
    ]
