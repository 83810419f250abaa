"""``llmrec fit``: from data and a configuration to a bundle."""

from __future__ import annotations

import re
import shlex
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmrec.cli.output import print_json, progress
from llmrec.cli.source import (
    ConfigOption,
    DatasetOption,
    HoldoutChoice,
    InteractionsOption,
    ItemsOption,
    JsonOption,
    OnErrorOption,
    ProfilesOption,
    QuarantineOption,
    SetOption,
    check_place,
    cleaned,
    data_config,
    read_project,
)

if TYPE_CHECKING:
    from llmrec.data import CleaningReport, Interactions

__all__ = ["fit"]

_HOLDOUT = (
    "For measuring, kept out of fitting: last: each user's last interaction (the second last only tunes); time: what "
    "is newest; cold-items, cold-users: a tenth of the items or users. none: for serving; everything is used."
)


def fit(
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the bundle goes.")],
    dataset: DatasetOption = None,
    items: ItemsOption = None,
    interactions: InteractionsOption = None,
    user_profiles: ProfilesOption = None,
    on_error: OnErrorOption = None,
    quarantine: QuarantineOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    holdout: Annotated[HoldoutChoice, typer.Option("--holdout", help=_HOLDOUT)] = HoldoutChoice.none,
    work: Annotated[
        Path | None,
        typer.Option("--work", metavar="FOLDER", help="Keep what training writes there: started again, a fit goes on."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fit a recommender and save it as a bundle.

    The data are named by options, or by the table [data] of the configuration.
    """
    from llmrec.build import fit as fit_recommender
    from llmrec.data import load_data

    check_place(out)
    project = read_project(config, sets)
    source = cleaned(data_config(project.data, dataset, items, interactions, user_profiles), on_error, quarantine)
    with progress() as say:
        data = load_data(source, progress=say)
        say(
            f"{len(data.catalog):,} items, {data.interactions.n_users:,} users, {len(data.interactions):,} interactions"
        )
        notes = _notes(data.cleaning)
        for line in _told(data.cleaning):
            say(line)
        recommender = fit_recommender(
            project.pipeline,
            data.catalog,
            data.interactions,
            users=data.users,
            holdout=holdout.value,
            work=work,
            progress=say,
        )
        say("saving the bundle")
        path = recommender.with_notes(**notes).save(out)
    if as_json:
        sizes = {"items": len(data.catalog), "users": data.interactions.n_users, "interactions": len(data.interactions)}
        print_json({"bundle": str(path), **sizes, "cleaning": notes.get("cleaning")})
    else:
        typer.echo(f"saved {path}")
        typer.echo(f"next: llmrec recommend --bundle {shlex.quote(str(out))} --users {_somebody(data.interactions)}")


def _somebody(log: Interactions) -> str:
    """A user whose id can stand after --users as it is, without a comma or what a shell reads; else all of them."""
    return next((user for user in islice(log.users, 1_000) if re.fullmatch(r"\w+", user, re.ASCII)), "all")


def _notes(report: CleaningReport | None) -> dict[str, Any]:
    """What a bundle says of the cleaning: numbers only, neither paths of this machine nor values of the data."""
    if report is None:
        return {}
    parts = {
        part.part: {
            "read": part.read,
            "accepted": part.accepted,
            "repaired": part.repaired,
            "rejected": part.rejected,
            "classes": {found.name: found.count for found in part.findings},
        }
        for part in report.parts
    }
    return {"cleaning": parts}


def _told(report: CleaningReport | None) -> list[str]:
    """A line for each part of which not every row was taken as it was."""
    lines = []
    for part in report.parts if report is not None else ():
        if part.repaired or part.rejected:
            classes = ", ".join(f"{found.name} {found.count:,}" for found in part.findings)
            numbers = f"{part.read:,} rows read, {part.repaired:,} repaired, {part.rejected:,} left out"
            lines.append(f"{part.part}: {numbers} ({classes})")
    if lines and report is not None and report.quarantine:
        lines.append(f"the rows left out are in {report.quarantine}")
    return lines
