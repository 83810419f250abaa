"""Reading the data a command is given: a named data set, a folder, or two files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmrec.errors import ConfigError

if TYPE_CHECKING:
    from llmrec.data import Catalog, Interactions

__all__ = ["BundleOption", "DatasetOption", "InteractionsOption", "ItemsOption", "read_data"]

BundleOption = Annotated[Path, typer.Option("--bundle", metavar="FOLDER", help="A bundle saved by `llmrec fit`.")]
DatasetOption = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        metavar="NAME",
        help="A named data set (ml-100k), or a folder with items.* and interactions.* (.csv, .tsv, .parquet).",
    ),
]
ItemsOption = Annotated[
    Path | None,
    typer.Option("--items", metavar="FILE", help="The catalog: item_id and text fields; with --interactions."),
]
InteractionsOption = Annotated[
    Path | None,
    typer.Option("--interactions", metavar="FILE", help="The log: user_id, item_id and, for the order, timestamp."),
]


def read_data(
    dataset: str | None, items: Path | None, interactions: Path | None, progress: Callable[[str], None]
) -> tuple[Catalog, Interactions]:
    """Read a catalog and a log.

    Raises:
        ConfigError: not exactly one way of naming them was used.
        DataError: a file is not as it must be.
    """
    from llmrec.data import Catalog, InteractionColumns, Interactions, load_dataset, read_table

    if (dataset is None) == (items is None and interactions is None):
        raise ConfigError("name the data with --dataset NAME, or with --items FILE and --interactions FILE")
    if dataset is not None:
        loaded = load_dataset(dataset, progress=progress)
        return loaded.catalog, loaded.interactions
    if items is None or interactions is None:
        raise ConfigError("--items and --interactions go together: the catalog and the log")
    catalog = Catalog.from_file(items)
    table = read_table(interactions)
    time = next((name for name in ("timestamp", "time", "t") if name in table.column_names), None)
    return catalog, Interactions.from_table(table, catalog, InteractionColumns(time=time))
