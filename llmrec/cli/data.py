"""``llmrec data``: what is wrong with data, what is in them, and splits of them for other libraries."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmrec.cli.output import print_json, print_rows, progress, results
from llmrec.cli.source import (
    ConfigOption,
    DatasetOption,
    InteractionsOption,
    ItemsOption,
    JsonOption,
    OnErrorChoice,
    OnErrorOption,
    ProfilesOption,
    QuarantineOption,
    SetOption,
    cleaned,
    data_config,
    read_project,
)
from llmrec.errors import ConfigError, DataError

if TYPE_CHECKING:
    from llmrec.data import Dataset

__all__ = ["check", "describe", "split"]


class SplitChoice(StrEnum):
    """What is held out."""

    last = "last"
    time = "time"
    cold_items = "cold-items"
    cold_users = "cold-users"


class FormatChoice(StrEnum):
    """What files are written."""

    parquet = "parquet"
    csv = "csv"


def check(
    dataset: DatasetOption = None,
    items: ItemsOption = None,
    interactions: InteractionsOption = None,
    user_profiles: ProfilesOption = None,
    on_error: OnErrorOption = None,
    quarantine: QuarantineOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read everything and show what is wrong with which rows. Exit code 3: fitting would refuse these data."""
    from llmrec.data import load_data
    from llmrec.data.report import HARMLESS

    data = data_config(read_project(config, sets).data, dataset, items, interactions, user_profiles)
    wanted = cleaned(data, on_error, quarantine)
    fails = wanted.on_error == "fail"
    with progress() as say:
        read = load_data(cleaned(wanted, OnErrorChoice.skip, None) if fails else wanted, progress=say)
    report = read.cleaning
    if report is None:
        raise DataError("these data came without a report; check their files one by one")
    findings = [found for part in report.parts for found in part.findings if found.outcome == "rejected"]
    stops = fails and any(found.name not in HARMLESS for found in findings)
    refused = stops or len(read.interactions) == 0
    if as_json:
        print_json({"clean": report.clean, "refused": refused, **report.to_dict()})
    else:
        rows = [("part", "class", "outcome", "rows", "where first"), *report.rows()]
        print_rows(results(), [(*row[:3], row[4], row[3]) for row in rows], left=4)
        if len(read.interactions) == 0:
            typer.echo("fit would refuse these data: there is no interaction to learn from")
        elif stops:
            typer.echo("fit would refuse these data; --on-error skip leaves the rejected rows out")
    if refused:
        raise typer.Exit(DataError.exit_code)


def describe(
    dataset: DatasetOption = None,
    items: ItemsOption = None,
    interactions: InteractionsOption = None,
    user_profiles: ProfilesOption = None,
    encoder: Annotated[
        str | None,
        typer.Option("--encoder", metavar="NAME", help="Also count the tokens this model reads of the text."),
    ] = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what is in the data: counts, density, lengths of histories, popularity, times, and how full fields are."""
    from llmrec.cli.describe import described, shown, text_tokens

    with progress() as say:
        data = _load(config, sets, data_options=(dataset, items, interactions, user_profiles), say=say)
        facts = described(data)
        if encoder is not None:
            facts["tokens"] = text_tokens(data, encoder, say)
    if as_json:
        print_json(facts)
        return
    console = results()
    for title, rows in shown(facts).items():
        print_rows(console, rows, title=title)


def split(
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the files go; it must not exist yet.")],
    by: Annotated[SplitChoice, typer.Option("--by", help="What is held out.")] = SplitChoice.last,
    min_interactions: Annotated[
        int, typer.Option("--min-interactions", min=3, help="Users with fewer are not asked about.")
    ] = 3,
    file_format: Annotated[FormatChoice, typer.Option("--format", help="What files.")] = FormatChoice.parquet,
    dataset: DatasetOption = None,
    items: ItemsOption = None,
    interactions: InteractionsOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write train, validation and test files, as llmrec measures, for other libraries; with a protocol card.

    train: what may be learned from. validation, test: one target a user; their histories stand in files of their own.
    """
    from llmrec.cli.split_files import write_split

    if out.exists():
        raise ConfigError(f"--out {out} exists already; choose another folder")
    with progress() as say:
        data = _load(config, sets, data_options=(dataset, items, interactions, None), say=say)
        card = write_split(out, data, by.value, min_interactions, file_format.value)
    if as_json:
        print_json({"out": str(out.resolve()), **card})
        return
    for name, rows in card["files"].items():
        typer.echo(f"{out / name}: {rows:,} rows")
    for protocol in card["protocols"].values():
        typer.echo(protocol["text"])


def _load(
    config: Path | None,
    sets: list[str] | None,
    *,
    data_options: tuple[str | None, Path | None, Path | None, Path | None],
    say: Callable[[str], None],
) -> Dataset:
    from llmrec.data import load_data

    return load_data(data_config(read_project(config, sets).data, *data_options), progress=say)
