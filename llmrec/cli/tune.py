"""``llmrec tune``: search the settings of a pipeline on validation cases."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmrec.cli.output import print_json, print_rows, printable, progress, results
from llmrec.cli.runtime import settle
from llmrec.cli.source import (
    ConfigOption,
    DatasetOption,
    InteractionsOption,
    ItemsOption,
    JsonOption,
    OnErrorOption,
    ProfilesOption,
    QuarantineOption,
    SetOption,
    cleaned,
    data_config,
)
from llmrec.errors import ConfigError

if TYPE_CHECKING:
    from llmrec.tune import TuneResult

__all__ = ["tune"]

SHOWN = 15
"""Trials in the table; --json has all."""
TRIALS = 30


class TuneHoldoutChoice(StrEnum):
    """How the log is split."""

    last = "last"
    time = "time"


_HOLDOUT = (
    "last: each user's last interaction is put aside unseen, the second last is foretold; time: likewise, by time."
)

TrialsOption = Annotated[
    int | None,
    typer.Option("--trials", metavar="N", min=1, help=f"Stop after so many; without it and --minutes, {TRIALS}."),
]
MinutesOption = Annotated[
    float | None, typer.Option("--minutes", metavar="N", help="Begin no trial when so much time has passed.")
]
MetricOption = Annotated[
    str, typer.Option("--metric", metavar="NAME@K", help="What is searched for, such as NDCG@10 or Recall@20.")
]
UsersOption = Annotated[
    int | None, typer.Option("--users", min=2, help="Measure on a fixed random sample of so many users.")
]
WorkOption = Annotated[
    Path | None,
    typer.Option("--work", metavar="FOLDER", help="Keep the trials there: started again, the search goes on."),
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Write the configuration with the best values there, as TOML."),
]


def tune(
    dataset: DatasetOption = None,
    items: ItemsOption = None,
    interactions: InteractionsOption = None,
    user_profiles: ProfilesOption = None,
    on_error: OnErrorOption = None,
    quarantine: QuarantineOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    trials: TrialsOption = None,
    minutes: MinutesOption = None,
    metric: MetricOption = "NDCG@10",
    users: UsersOption = None,
    holdout: Annotated[TuneHoldoutChoice, typer.Option("--holdout", help=_HOLDOUT)] = TuneHoldoutChoice.last,
    seed: Annotated[int, typer.Option("--seed", help="Of the search; models have the configuration's.")] = 0,
    work: WorkOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search the settings that the table [tune] names for those that are best on validation cases.

    The first trial is the pipeline as it stands. The test is never seen: what it asks is put aside before anything
    else. Needs the extra `tune`.
    """
    from llmrec.cli.layers import read_layers
    from llmrec.cli.tune_file import best_toml
    from llmrec.data import load_data
    from llmrec.tune import TuneOptions, check_space
    from llmrec.tune import tune as search

    _check_out(out)
    layers = read_layers(config, sets)
    project = layers.project
    settle(project.runtime)
    options = TuneOptions(
        trials=TRIALS if trials is None and minutes is None else trials,
        minutes=minutes,
        metric=metric,
        users=users,
        holdout=holdout.value,
        seed=seed,
        work=work,
    )
    check_space(project.tune, project.pipeline)
    source = cleaned(data_config(project.data, dataset, items, interactions, user_profiles), on_error, quarantine)
    with progress() as say:
        data = load_data(source, progress=say)
        found = search(
            project.pipeline,
            project.tune,
            data.catalog,
            data.interactions,
            users=data.users,
            options=options,
            progress=say,
        )
    if as_json:
        print_json({**found.to_dict(), "out": None if out is None else str(out)})
    else:
        _show(found)
    if out is not None:
        _write(out, best_toml(found, layers, config, out), as_json)


def _check_out(out: Path | None) -> None:
    """Raise ConfigError, before any work, where the best configuration could not be written."""
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        raise ConfigError(f"--out {out} must name a file in a folder that exists")


def _show(found: TuneResult) -> None:
    console = results()
    print_rows(console, found.rows(SHOWN), left=0)
    if len(found.trials) > SHOWN:
        console.print(f"{len(found.trials)} trials in all; --json shows them")
    for trial in found.trials:
        if trial.error:
            console.print(printable(f"trial {trial.number} failed: {trial.error}"), soft_wrap=True)
    if found.importance:
        shares = ", ".join(f"{path} {share:.0%}" for path, share in found.importance.items())
        console.print(printable(f"what mattered: {shares}"), soft_wrap=True)
    console.print(printable(found.card), soft_wrap=True)
    console.print("the best of many is too good on the users it was chosen on: measure it on the test, once")


def _write(out: Path, text: str, as_json: bool) -> None:
    out.write_text(text, encoding="utf-8")
    if not as_json:
        typer.echo(f"saved {out}")
        typer.echo(f"next: llmrec fit --config {shlex.quote(str(out))} --holdout last --out bundles/tuned")
