"""``llmrec recommend``: for known users, a history typed in, or a wish; to the screen or to a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from llmrec.cli.fit import HoldoutChoice
from llmrec.cli.output import progress
from llmrec.cli.search import CountOption, JsonOption, show_lists
from llmrec.cli.source import BundleOption, InteractionsOption
from llmrec.errors import ConfigError, LeakageError

if TYPE_CHECKING:
    from llmrec.data import Interactions
    from llmrec.pipeline import Recommender
    from llmrec.types import Int64Array, Queries

__all__ = ["recommend"]

BATCH = 4096


def recommend(
    bundle: BundleOption,
    users: Annotated[
        str | None, typer.Option("--users", metavar="IDS|all", help="Known users, comma-separated.")
    ] = None,
    history: Annotated[
        str | None, typer.Option("--history", metavar="ITEMS", help="Item ids, comma-separated, oldest first.")
    ] = None,
    wish: Annotated[str | None, typer.Option("--wish", metavar="TEXT", help="What is wished for, in words.")] = None,
    k: CountOption = 10,
    holdout: Annotated[
        HoldoutChoice, typer.Option("--holdout", help="last: histories end before each user's last interaction.")
    ] = HoldoutChoice.none,
    interactions: InteractionsOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write user_id, rank, item_id, score (.parquet, .csv).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Recommend items. Histories come from the bundle, or from a newer log given with --interactions."""
    from llmrec.pipeline import load

    if users is None and history is None and wish is None:
        raise ConfigError("say for whom: --users IDS (or all), --history ITEMS, or --wish TEXT")
    if users is not None and history is not None:
        raise ConfigError("--users and --history exclude each other: a known user has a history")
    recommender = load(bundle)
    if users is None:
        past = [history.split(",")] if history else None
        asked = recommender.queries(histories=past, wishes=[wish] if wish else None)
        show_lists(recommender, recommender.recommend(asked, k), [wish or f"after {history}"], as_json)
        return
    log = _histories(recommender, interactions, holdout)
    ids = [log.users[row] for row in range(log.n_users)] if users == "all" else users.split(",")
    rows = log.users.rows(ids).astype(np.int64)
    if out is not None:
        with progress() as say:
            _write(recommender, log, rows, wish, k, out, say)
        typer.echo(f"wrote {out}: {len(ids):,} users, up to {k} items each")
        return
    queries = _with_wish(log.queries(rows), wish)
    show_lists(recommender, recommender.recommend(queries, k), [f"user {user}" for user in ids], as_json)


def _histories(recommender: Recommender, interactions: Path | None, holdout: HoldoutChoice) -> Interactions:
    """The log that histories come from, without what must not be seen."""
    from llmrec.data import InteractionColumns, Interactions, read_table, without_last

    about = recommender.about or {}
    if interactions is None:
        if recommender.histories is None:
            raise ConfigError("this bundle stores no users; give their log with --interactions FILE")
        if holdout is HoldoutChoice.last and about.get("holdout") != "last":
            raise LeakageError(
                "this bundle was fitted on every interaction, the last ones too, so nothing measured with it would "
                "be honest; fit one with: llmrec fit --holdout last"
            )
        return recommender.histories
    table = read_table(interactions)
    time = next((name for name in ("timestamp", "time", "t") if name in table.column_names), None)
    log = Interactions.from_table(table, recommender.catalog, InteractionColumns(time=time))
    return without_last(log, about.get("min_interactions", 3)) if holdout is HoldoutChoice.last else log


def _with_wish(queries: Queries, wish: str | None) -> Queries:
    from dataclasses import replace

    return queries if wish is None else replace(queries, texts=[wish] * len(queries))


def _write(
    recommender: Recommender,
    log: Interactions,
    rows: Int64Array,
    wish: str | None,
    k: int,
    out: Path,
    say: Callable[[str], None],
) -> None:
    """Write lists batch by batch, so that memory stays bounded, and in one piece: never half a file."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    schema = pa.schema(
        [("user_id", pa.string()), ("rank", pa.int32()), ("item_id", pa.string()), ("score", pa.float32())]
    )
    writers = {".parquet": parquet.ParquetWriter, ".csv": csv.CSVWriter}
    if out.suffix not in writers:
        raise ConfigError(f"--out {out}: the name must end in {' or '.join(writers)}")
    partial = out.with_name(f".{out.name}.partial")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with writers[out.suffix](partial, schema) as writer:
            for start in range(0, len(rows), BATCH):
                part = rows[start : start + BATCH]
                ranking = recommender.recommend(_with_wish(log.queries(part), wish), k)
                owners, places = np.nonzero(ranking.items >= 0)
                columns = [
                    pa.array(log.users.decode(part[owners])),
                    pa.array(places + 1, pa.int32()),
                    pa.array(recommender.catalog.items.decode(ranking.items[owners, places])),
                    pa.array(ranking.scores[owners, places]),
                ]
                writer.write_batch(pa.record_batch(columns, schema=schema))
                say(f"{min(start + BATCH, len(rows)):,} of {len(rows):,} users")
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
