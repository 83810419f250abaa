"""Build the Games data folder from the official files of the Amazon Review Data 2018 (Ni, Li and McAuley, EMNLP 2019).

    python scripts/bench/prepare_games.py Video_Games.csv meta_Video_Games.json.gz OUT

The first file is "ratings only" (item, user, rating, timestamp; no header), the second the products' metadata, one JSON
object a line; either may be gzipped. A user's repeated ratings of an item count once, the oldest. Items without a
usable title are left out. Then users and items with fewer than five interactions are left out, until none is left. A
history longer than 49 keeps its newest 49; equal times keep the order of the file. Writes `interactions.parquet`
(user_id, item_id, t = position, oldest first) and `items.parquet` (item_id, title), and prints what was left out.

Tested on made-up files of this form only: the official ones were not at hand. They change now and then, so the counts
may differ a little from those of the benchmark (50,546 users, 16,859 items, 440,264 interactions).
"""

from __future__ import annotations

import argparse
import gzip
import html
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv, parquet

CORE = 5
LONGEST = 49
SCRIPT = "getTime"  # scraped pages whose title is a script hold this


def main() -> None:
    """Read, filter, write, and say what happened."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("ratings", type=Path)
    parser.add_argument("metadata", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    print(json.dumps(prepare(args.ratings, args.metadata, args.out), indent=1))


def prepare(ratings: Path, metadata: Path, out: Path) -> dict[str, int]:
    """Build the folder; returns counts."""
    titles = read_titles(metadata)
    log = read_ratings(ratings)
    found = {"ratings": len(log)}
    log = once(log)
    found["without repeats"] = len(log)
    log = log.filter(pa.array([item in titles for item in log["item_id"].to_pylist()], pa.bool_()))
    found["with a title"] = len(log)
    log = core(log, CORE)
    found["5-core"] = len(log)
    log = newest(log, LONGEST)
    items = sorted(set(log["item_id"].to_pylist()))
    names = pa.array([titles[item] for item in items], pa.string())
    out.mkdir(parents=True, exist_ok=True)
    parquet.write_table(log, out / "interactions.parquet")
    parquet.write_table(pa.table({"item_id": pa.array(items, pa.string()), "title": names}), out / "items.parquet")
    return {**found, "interactions": len(log), "users": len(set(log["user_id"].to_pylist())), "items": len(items)}


def read_titles(path: Path) -> dict[str, str]:
    """Title by item; of repeated items the first one that has a usable title."""
    titles: dict[str, str] = {}
    with _open(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
                item, title = record["asin"], record.get("title")
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise SystemExit(f"{path}, line {number}: not a product with an asin: {error}") from error
            if isinstance(title, str) and SCRIPT not in title and (clean := " ".join(html.unescape(title).split())):
                titles.setdefault(item, clean)
    return titles


def read_ratings(path: Path) -> pa.Table:
    """Columns item_id, user_id, time, in the order of the file."""
    names = ["item_id", "user_id", "rating", "time"]
    types = {"item_id": pa.string(), "user_id": pa.string(), "time": pa.int64()}
    options = csv.ConvertOptions(column_types=types, include_columns=["item_id", "user_id", "time"])
    with pa.input_stream(str(path), compression="detect") as stream:
        try:
            return csv.read_csv(stream, csv.ReadOptions(column_names=names), convert_options=options)
        except pa.ArrowInvalid as error:
            raise SystemExit(
                f"{path} is not a table of item, user, rating, timestamp without header: {error}"
            ) from error


def once(log: pa.Table) -> pa.Table:
    """Each user's items once, oldest first."""
    users, items = _codes(log, "user_id"), _codes(log, "item_id")
    order = np.lexsort((np.asarray(log["time"]), items, users))  # stable: equal times keep the order of the file
    same = (np.diff(users[order]) == 0) & (np.diff(items[order]) == 0)
    kept = np.sort(order[np.r_[True, ~same]] if len(order) else order)
    log = log.take(kept)
    return log.take(np.lexsort((np.asarray(log["time"]), _codes(log, "user_id"))))


def core(log: pa.Table, least: int) -> pa.Table:
    """Leave out users and items with fewer than `least` interactions until there is none."""
    while len(log):
        kept = np.ones(len(log), dtype=np.bool_)
        for name in ("user_id", "item_id"):
            codes = _codes(log, name)
            kept &= np.bincount(codes)[codes] >= least
        if kept.all():
            break
        log = log.filter(pa.array(kept))
    return log


def newest(log: pa.Table, longest: int) -> pa.Table:
    """Keep each user's newest interactions, with their position `t`. Users stand together, oldest first."""
    users = _codes(log, "user_id")
    starts = np.flatnonzero(np.diff(users, prepend=-1))
    lengths = np.diff(np.append(starts, len(users)))
    place = np.arange(len(users)) - np.repeat(starts, lengths)
    cut = np.repeat(np.maximum(lengths - longest, 0), lengths)
    kept = place >= cut
    columns = {name: log[name].filter(pa.array(kept)) for name in ("user_id", "item_id")}
    return pa.table({**columns, "t": pa.array((place - cut)[kept], pa.int64())})


def _codes(log: pa.Table, name: str) -> NDArray[np.int64]:
    """Number the ids of a column by first appearance."""
    encoded = log[name].combine_chunks().dictionary_encode()
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    return np.asarray(encoded.indices, dtype=np.int64)


@contextmanager
def _open(path: Path) -> Iterator[IO[str]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        yield file


if __name__ == "__main__":
    main()
