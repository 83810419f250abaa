"""``llmrec train language-model`` and ``llmrec train preferences``: tune causal language models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

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
from llmrec.cli.train import HOLDOUT, OutOption, ReportChoice, SeedOption, SettingOption, material, read_pairs
from llmrec.errors import ConfigError

__all__ = ["language_model", "preferences"]

MinutesOption = Annotated[
    float | None, typer.Option("--minutes", metavar="N", help="Stop after so long; the rest is planned for it.")
]
ResumeOption = Annotated[
    bool, typer.Option("--resume/--no-resume", help="Go on where the same training stopped, or begin anew.")
]
ReportOption = Annotated[ReportChoice, typer.Option("--report-to", help="Also write the loss and the checks there.")]
SCORERS = {"yes_no": "yes_no", "next_title": "title_likelihood", "listwise": "listwise"}
ASKING = ("template", "yes", "no", "item_tokens", "window", "max_tokens")
"""Settings of a tuning that its scorer has too: they say what the model is asked."""


def language_model(
    out: OutOption,
    dataset: DatasetOption = None,
    items: ItemsOption = None,
    interactions: InteractionsOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    settings: SettingOption = None,
    minutes: MinutesOption = None,
    holdout: Annotated[HoldoutChoice, typer.Option("--holdout", help=HOLDOUT)] = HoldoutChoice.last,
    seed: SeedOption = 0,
    resume: ResumeOption = True,
    report_to: ReportOption = ReportChoice.none,
    as_json: JsonOption = False,
) -> None:
    """Tune a causal language model on what users took next.

    The settings are those of `LanguageModelConfig`, such as --setting task=next_title or --setting lora_rank=0 for all
    weights. The result is a folder to name as `model` in a scorer that asks a language model.
    """
    from llmrec.config import read_values
    from llmrec.data import load_data
    from llmrec.train import LanguageModelConfig, TrainOptions, train_language_model

    project = read_project(config, sets)
    values = read_values(LanguageModelConfig, _with(settings, minutes), "--setting")
    with progress() as say:
        data = load_data(data_config(project.data, dataset, items, interactions), progress=say)
        train, validation = material(data, holdout.value, project.pipeline.min_interactions)
        options = TrainOptions(seed=seed, resume=resume, report_to=report_to.value, progress=say)
        train_language_model(values, data.catalog, train, validation, out, options=options)
    _tell(out, SCORERS[values.task], values.model_dump(), as_json)


def preferences(
    out: OutOption,
    impressions: Annotated[
        Path,
        typer.Option(
            "--impressions",
            metavar="FILE",
            help="What was shown and clicked: columns history, shown and clicked, each of item ids.",
        ),
    ],
    dataset: DatasetOption = None,
    items: ItemsOption = None,
    interactions: InteractionsOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    settings: SettingOption = None,
    minutes: MinutesOption = None,
    seed: SeedOption = 0,
    resume: ResumeOption = True,
    report_to: ReportOption = ReportChoice.none,
    as_json: JsonOption = False,
) -> None:
    """Tune a causal language model on what people clicked of what they were shown.

    The settings are those of `PreferenceConfig`, such as --setting model=models/lm to start from an earlier tuning.
    Give only lists that were shown before the moments held out for evaluation: `llmrec evaluate` would measure what the
    model was taught.
    """
    from llmrec.config import read_values
    from llmrec.data import load_data
    from llmrec.train import PreferenceConfig, TrainOptions, read_impressions, train_preferences

    project = read_project(config, sets)
    values = read_values(PreferenceConfig, _with(settings, minutes), "--setting")
    with progress() as say:
        data = load_data(data_config(project.data, dataset, items, interactions), progress=say)
        shown = read_impressions(impressions, data.catalog)
        options = TrainOptions(seed=seed, resume=resume, report_to=report_to.value, progress=say)
        train_preferences(values, data.catalog, shown, out, options=options)
    _tell(out, "title_likelihood", values.model_dump(), as_json)


def _with(settings: list[str] | None, minutes: float | None) -> dict[str, object]:
    values = read_pairs([*(settings or []), *([f"minutes={minutes}"] if minutes is not None else [])])
    if "model" in values and not isinstance(values["model"], str):
        raise ConfigError(f"--setting model={values['model']!r} must be a name or a folder")
    return values


def _needed(scorer: str, settings: dict[str, Any]) -> dict[str, Any]:
    """What a scorer must be told so that it asks as its model was tuned: what is not its own default."""
    from llmrec.component import find_component

    fields = find_component(scorer).config.model_fields
    told = {name: settings.get(name) for name in ASKING if name in fields}
    if "window" in told and told["window"] != fields["window"].default:
        told["step"] = settings["window"] // 2  # windows have to overlap
    return {name: value for name, value in told.items() if value is not None and value != fields[name].default}


def _tell(out: Path, scorer: str, settings: dict[str, Any], as_json: bool) -> None:
    from llmrec.train import read_record

    record = read_record(out)
    if as_json:
        names = ("cases", "pairs", "steps", "seconds", "before", "checks", "best")
        print_json({"model": str(out), **{name: record[name] for name in names if name in record}})
        return
    typer.echo(f"saved {out}")
    if record.get("before") is None:
        typer.echo("not measured")
    else:
        typer.echo(
            f"validation NDCG@10 of lists that hold what was taken: {record['before']:.4f} before, "
            f"{record['best']:.4f} now"
        )
    given = {"model": str(out), **_needed(scorer, settings)}
    *most, last = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in given.items()]
    typer.echo(f"next: in a pipeline, a scorer {scorer} with {', '.join(most)}{' and ' if most else ''}{last}")
