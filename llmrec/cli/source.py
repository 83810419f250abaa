"""Reading what a command is given: a data set or two files, a bundle, lists of ids."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmrec.cli.complete import complete_datasets
from llmrec.cli.runtime import settle
from llmrec.errors import BundleError, ConfigError

if TYPE_CHECKING:
    from llmrec.config import Project
    from llmrec.data import Catalog, DataConfig, Interactions

__all__ = [
    "BundleOption",
    "ConfigOption",
    "CountOption",
    "DatasetOption",
    "HoldoutChoice",
    "InteractionsOption",
    "ItemsOption",
    "JsonOption",
    "OnErrorChoice",
    "OnErrorOption",
    "ProfilesOption",
    "QuarantineOption",
    "SetOption",
    "check_place",
    "cleaned",
    "data_config",
    "read_data",
    "read_project",
    "split_ids",
]


class OnErrorChoice(StrEnum):
    """What becomes of rows that cannot be used."""

    fail = "fail"
    skip = "skip"
    quarantine = "quarantine"


BundleOption = Annotated[
    Path,
    typer.Option("--bundle", metavar="FOLDER", envvar="LLMREC_BUNDLE", help="A bundle saved by `llmrec fit`."),
]
DatasetOption = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        metavar="NAME",
        autocompletion=complete_datasets,
        help="A named data set (ml-100k), or a folder with items.* and interactions.* (.csv, .tsv, .parquet, .jsonl); "
        "without it and files, LLMREC_DATASET, then the [data] table of --config.",
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
ProfilesOption = Annotated[
    Path | None,
    typer.Option("--user-profiles", metavar="FILE", help="What is known about users: user_id and text fields."),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        envvar="LLMREC_CONFIG",
        help="A TOML file: the pipeline, and the tables [data] and [runtime]; without it, the default pipeline.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="One value of the configuration, such as stages.hybrid.keep=50; may be repeated. "
        "Before it, LLMREC_SET is heeded, with ; between values.",
    ),
]
OnErrorOption = Annotated[
    OnErrorChoice | None,
    typer.Option("--on-error", help="Rows that cannot be used: stop, leave them out, or write them to --quarantine."),
]
QuarantineOption = Annotated[
    Path | None, typer.Option("--quarantine", metavar="FILE", help="Write rows that cannot be used there (.jsonl).")
]
CountOption = Annotated[int, typer.Option("--k", min=1, help="How many items.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON; errors too, in one line on stderr.")]


class HoldoutChoice(StrEnum):
    """What is kept out."""

    none = "none"
    last = "last"
    time = "time"
    cold_items = "cold-items"
    cold_users = "cold-users"


def read_project(config: Path | None, sets: Sequence[str] | None) -> Project:
    """Read the configuration a command runs with, and let models run where it says, unless an option says otherwise.

    Args:
        config: the file of --config.
        sets: the values of --set, which win over LLMREC_SET, which wins over the file.

    Raises:
        ConfigError: a file or a value is wrong.
    """
    from llmrec.cli.layers import read_layers

    project = read_layers(config, sets).project
    settle(project.runtime)
    return project


def data_config(
    data: DataConfig,
    dataset: str | None = None,
    items: Path | None = None,
    interactions: Path | None = None,
    users: Path | None = None,
) -> DataConfig:
    """Put what a command's options name over a [data] table.

    A data set named by an option, or else by LLMREC_DATASET where no option names anything, takes the place of
    everything the table names; a file takes the place of its part only.

    Raises:
        ConfigError: two options name the same thing, or there is no data.
    """
    files = {"items": items, "interactions": interactions, "users": users}
    given = {name: str(path) for name, path in files.items() if path is not None}
    if dataset is not None and (items is not None or interactions is not None):
        raise ConfigError("--dataset and --items/--interactions exclude each other; name the data in one way")
    if dataset is None and not given:
        dataset = os.environ.get("LLMREC_DATASET") or None
    whole = {"dataset": dataset, "items": None, "interactions": None, "users": None} if dataset is not None else {}
    data = data.model_copy(update={**whole, **given})
    if data.dataset is None and data.items is None and data.interactions is None:
        raise ConfigError(
            "name the data with --dataset NAME, or with --items FILE and --interactions FILE, or in a [data] table"
        )
    if data.dataset is None and (data.items is None or data.interactions is None):
        raise ConfigError("--items and --interactions go together: the catalog and the log")
    return data


def cleaned(data: DataConfig, on_error: OnErrorChoice | None, quarantine: Path | None) -> DataConfig:
    """Put --on-error and --quarantine over a [data] table; a file for rejected rows asks for them to go there.

    Raises:
        ConfigError: a file for rejected rows is named, and they are to go nowhere.
    """
    if quarantine is not None and on_error not in (None, OnErrorChoice.quarantine):
        raise ConfigError(f"--quarantine names a file, but --on-error is {on_error}; leave one of them out")
    if quarantine is not None:
        return data.model_copy(update={"on_error": "quarantine", "quarantine": str(quarantine)})
    if on_error is None:
        return data
    kept = data.quarantine if on_error is OnErrorChoice.quarantine else None
    return data.model_copy(update={"on_error": on_error.value, "quarantine": kept})


def read_data(
    dataset: str | None,
    items: Path | None,
    interactions: Path | None,
    progress: Callable[[str], None],
    *,
    config: Path | None = None,
    sets: Sequence[str] | None = None,
) -> tuple[Catalog, Interactions]:
    """Read a catalog and a log as `llmrec fit` does.

    Args:
        dataset: the value of --dataset.
        items: the value of --items.
        interactions: the value of --interactions.
        progress: told what is being fetched.
        config: the value of --config.
        sets: the values of --set.

    Raises:
        ConfigError: not exactly one way of naming them was used.
        DataError: a file is not as it must be.
    """
    from llmrec.data import load_data

    data = read_project(config, sets).data
    loaded = load_data(data_config(data, dataset, items, interactions), progress=progress)
    return loaded.catalog, loaded.interactions


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
