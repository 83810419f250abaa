"""``llmrec fit``: from data and a configuration to a bundle."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from llmrec.cli.output import print_json, progress
from llmrec.cli.source import (
    DatasetOption,
    HoldoutChoice,
    InteractionsOption,
    ItemsOption,
    JsonOption,
    check_place,
    read_data,
)

__all__ = ["fit"]


def fit(
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the bundle goes.")],
    dataset: DatasetOption = None,
    items: ItemsOption = None,
    interactions: InteractionsOption = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="A TOML file; without it, the default pipeline.")
    ] = None,
    holdout: Annotated[
        HoldoutChoice,
        typer.Option(
            "--holdout",
            help="last: for measuring; each user's last interaction is never seen, the second last only tunes. "
            "none: for serving; everything is used.",
        ),
    ] = HoldoutChoice.none,
    as_json: JsonOption = False,
) -> None:
    """Fit a recommender and save it as a bundle."""
    from llmrec.build import fit as fit_recommender
    from llmrec.config import Config

    check_place(out)
    settings = Config() if config is None else Config.from_toml(config)
    with progress() as say:
        catalog, log = read_data(dataset, items, interactions, say)
        say(f"{len(catalog):,} items, {log.n_users:,} users, {len(log):,} interactions")
        recommender = fit_recommender(settings, catalog, log, holdout=holdout.value, progress=say)
        say("saving the bundle")
        path = recommender.save(out)
    if as_json:
        print_json({"bundle": str(path), "items": len(catalog), "users": log.n_users, "interactions": len(log)})
    else:
        typer.echo(f"saved {path}")
        typer.echo(f"next: llmrec recommend --bundle {shlex.quote(str(out))} --users {shlex.quote(log.users[0])}")
