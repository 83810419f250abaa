"""Reading what a command is given: a data set or two files, a bundle, lists of ids."""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmrec.errors import BundleError, ConfigError

if TYPE_CHECKING:
    from llmrec.data import Catalog, Interactions

__all__ = [
    "BundleOption",
    "CountOption",
    "DatasetOption",
    "HoldoutChoice",
    "InteractionsOption",
    "ItemsOption",
    "JsonOption",
    "check_place",
    "read_data",
    "split_ids",
]

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


CountOption = Annotated[int, typer.Option("--k", min=1, help="How many items.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class HoldoutChoice(StrEnum):
    """What is kept out."""

    none = "none"
    last = "last"


def read_data(
    dataset: str | None, items: Path | None, interactions: Path | None, progress: Callable[[str], None]
) -> tuple[Catalog, Interactions]:
    """Read a catalog and a log.

    Raises:
        ConfigError: not exactly one way of naming them was used.
        DataError: a file is not as it must be.
    """
    from llmrec.data import Catalog, Interactions, load_dataset

    files = items is not None or interactions is not None
    if dataset is not None and files:
        raise ConfigError("--dataset and --items/--interactions exclude each other; name the data in one way")
    if dataset is None and not files:
        raise ConfigError("name the data with --dataset NAME, or with --items FILE and --interactions FILE")
    if dataset is not None:
        loaded = load_dataset(dataset, progress=progress)
        return loaded.catalog, loaded.interactions
    if items is None or interactions is None:
        raise ConfigError("--items and --interactions go together: the catalog and the log")
    catalog = Catalog.from_file(items)
    return catalog, Interactions.from_file(interactions, catalog)


def split_ids(text: str, option: str) -> list[str]:
    """Split ids at commas; spaces around them do not count.

    Raises:
        ConfigError: there is no id, or an empty one.
    """
    ids = [part.strip() for part in text.split(",")]
    if not all(ids):
        raise ConfigError(f"{option} {text!r} has an empty id; write ids separated by commas, such as 1,2,3")
    return ids


def check_place(out: Path) -> None:
    """Check, before minutes of work, that a bundle can be saved here.

    Raises:
        BundleError: something else is there, it lies inside another bundle, or nothing can be written there.
    """
    from llmrec.bundle import check_outside, read_manifest

    place = out.expanduser().resolve()
    if place.exists() and not (place.is_dir() and not any(place.iterdir())):
        try:
            read_manifest(place)
        except BundleError as error:
            raise BundleError(f"--out {out} exists and is not a bundle; choose another path or remove it") from error
    check_outside(out)
    above = next(folder for folder in place.parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise BundleError(f"cannot save a bundle in {out}: {above} is not a folder that can be written to")
