"""``llmrec train``: tune the models that a pipeline is made of."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from enum import StrEnum
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
    SetOption,
    data_config,
    read_project,
)
from llmrec.errors import ConfigError

if TYPE_CHECKING:
    from llmrec.config import Project
    from llmrec.data import Dataset, Holdout, Interactions
    from llmrec.train import EncoderConfig

__all__ = [
    "HOLDOUT",
    "OutOption",
    "ReportChoice",
    "SeedOption",
    "SettingOption",
    "encoder",
    "material",
    "pretrain",
    "read_pairs",
]

TYPE = "tuned_dense"


class ReportChoice(StrEnum):
    """Where the loss and the checks go, beside stderr."""

    none = "none"
    tensorboard = "tensorboard"
    wandb = "wandb"


OutOption = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the model goes.")]
SeedOption = Annotated[int, typer.Option("--seed", help="For every random choice.")]
SettingOption = Annotated[
    list[str] | None,
    typer.Option(
        "--setting",
        metavar="KEY=VALUE",
        help="One setting of the training, such as pairs=20000 or encoder=minilm; may be repeated.",
    ),
]

HOLDOUT = (
    "What the model must not have seen when a recommender with it is measured; as for `llmrec fit`. none: for serving; "
    "each user's last interaction only checks."
)


def encoder(
    out: OutOption,
    dataset: DatasetOption = None,
    items: ItemsOption = None,
    interactions: InteractionsOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    settings: SettingOption = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", metavar="N", help="Stop after so long; the rest is planned for it.")
    ] = None,
    holdout: Annotated[HoldoutChoice, typer.Option("--holdout", help=HOLDOUT)] = HoldoutChoice.last,
    seed: SeedOption = 0,
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Go on where the same training stopped, or begin anew.")
    ] = True,
    report_to: Annotated[
        ReportChoice, typer.Option("--report-to", help="Also write the loss and the checks there.")
    ] = ReportChoice.none,
    as_json: JsonOption = False,
) -> None:
    """Tune a text encoder on what users took next.

    The settings are those of the retriever `tuned_dense`: of the first one in --config, with --setting over it.
    The result is a folder to name as `encoder` in a pipeline.
    """
    from llmrec.data import load_data
    from llmrec.train import TrainOptions, train_encoder

    project = read_project(config, sets)
    values = _settings(project, [*(settings or []), *([f"minutes={minutes}"] if minutes is not None else [])])
    with progress() as say:
        data = load_data(data_config(project.data, dataset, items, interactions), progress=say)
        train, validation = material(data, holdout.value, project.pipeline.min_interactions)
        options = TrainOptions(seed=seed, resume=resume, report_to=report_to.value, progress=say)
        train_encoder(values, data.catalog, train, validation, out, options=options)
    _tell(out, values.max_tokens, as_json)


def pretrain(
    out: OutOption,
    dataset: DatasetOption = None,
    items: ItemsOption = None,
    interactions: InteractionsOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    base: Annotated[str, typer.Option("--encoder", metavar="NAME", help="The model to start from.")] = "minilm",
    template: Annotated[str, typer.Option("--template", metavar="NAME", help="Renders items.")] = "item/genres",
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=8, help="Longer texts are cut.")] = 32,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes over the item texts.")] = 1,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Train a text encoder to guess masked words of a catalog's item texts, before it is tuned."""
    from llmrec.data import load_data
    from llmrec.train import PretrainConfig, TrainOptions, pretrain_encoder

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out {out} exists already; choose another folder, or remove it")
    project = read_project(config, sets)
    settings = PretrainConfig(encoder=base, item_template=template, max_tokens=max_tokens, epochs=epochs)
    with progress() as say:
        data = load_data(data_config(project.data, dataset, items, interactions), progress=say)
        pretrain_encoder(settings, data.catalog, out, options=TrainOptions(seed=seed, progress=say))
    if as_json:
        print_json({"model": str(out), "items": len(data.catalog)})
    else:
        typer.echo(f"saved {out}")
        typer.echo(f"next: llmrec train encoder --setting encoder={shlex.quote(str(out))}")


def _settings(project: Project, entries: Sequence[str]) -> EncoderConfig:
    """The first tuned_dense retriever of the pipeline, or its defaults, with single settings over it."""
    from llmrec.config import resolve
    from llmrec.train import EncoderConfig

    found = (
        (name, table)
        for stage in project.pipeline.stages
        for name, table in stage.retrievers.items()
        if table.get("type", name) == TYPE
    )
    name, table = next(found, (TYPE, {}))
    settings = resolve(name, {**table, "type": TYPE, **read_pairs(entries)}, "retriever", "--setting").values
    assert isinstance(settings, EncoderConfig)
    return settings


def read_pairs(entries: Sequence[str]) -> dict[str, Any]:
    """Values by name, of entries KEY=VALUE."""
    from llmrec.cli.layers import read_value

    values = {}
    for entry in entries:
        name, equals, text = entry.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"--setting {entry!r} must be of the form KEY=VALUE, such as pairs=20000")
        values[name.strip()] = read_value(text)
    return values


def material(data: Dataset, holdout: str, min_interactions: int) -> tuple[Interactions, Holdout]:
    """What may be learned from, and whom a model is measured with, as they will be asked: new items only."""
    from dataclasses import replace

    from llmrec.data import leave_last_out, split_by

    if holdout == "none":
        split = leave_last_out(data.interactions, min_interactions)
        train, cases = split.known, split.test
    else:
        split = split_by(holdout, data.interactions, data.catalog.items, min_interactions)
        train, cases = split.train, split.validation
    return train, replace(cases, queries=replace(cases.queries, exclude=cases.queries.histories))


def _tell(out: Path, max_tokens: int, as_json: bool) -> None:
    from llmrec.train import read_record

    record = read_record(out)
    if as_json:
        names = ("pairs", "steps", "seconds", "before", "checks", "best")
        print_json({"model": str(out), **{name: record[name] for name in names}})
        return
    typer.echo(f"saved {out}")
    if record["before"] is None:
        typer.echo("not measured: no user has enough interactions for one to be set aside")
    else:
        typer.echo(f"validation NDCG@10 of dense retrieval: {record['before']:.4f} before, {record['best']:.4f} now")
    typer.echo(f'next: in a pipeline, encoder = "{out}" and max_tokens = {max_tokens}')
