"""``llmrec prompt compare`` and ``search``: which template is better, and whether there is a better one."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmrec.cli.complete import complete_templates
from llmrec.cli.output import print_json, print_rows, printable, progress, results
from llmrec.cli.prompt_source import TemplateArgument
from llmrec.cli.source import (
    ConfigOption,
    DatasetOption,
    InteractionsOption,
    ItemsOption,
    JsonOption,
    ProfilesOption,
    SetOption,
    data_config,
    read_project,
    split_ids,
)
from llmrec.errors import ConfigError

if TYPE_CHECKING:
    from llmrec.lab import Compared, Judged, Searched, Setup, Store, Wanted
    from llmrec.lab.ground import Ground
    from llmrec.text import Template

__all__ = ["compare_prompts", "search_prompts"]


class JudgeChoice(StrEnum):
    """Who judges."""

    retriever = "retriever"
    cross_encoder = "cross-encoder"
    lm = "lm"


TemplatesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="TEMPLATE...",
        autocompletion=complete_templates,
        help="Names or .toml files; the others are compared with the first.",
    ),
]
OnOption = Annotated[
    list[JudgeChoice] | None,
    typer.Option("--on", help="Who judges; may be repeated. Default: the one that reads the templates' kind."),
]
OneOnOption = Annotated[
    JudgeChoice | None, typer.Option("--on", help="Who judges; default: the one that reads the template's kind.")
]
UsersOption = Annotated[
    int | None, typer.Option("--users", min=2, help="Users the retriever is asked for, a sample; default: all.")
]
RerankOption = Annotated[
    int, typer.Option("--rerank-users", min=2, help="Users the cross-encoder and the language model are asked for.")
]
FirstOption = Annotated[
    str, typer.Option("--first", metavar="NAME", help="The retriever whose candidates these two put in order.")
]
DepthOption = Annotated[int, typer.Option("--depth", min=2, help="How many candidates.")]
EncoderOption = Annotated[
    str, typer.Option("--encoder", metavar="NAME", help="The retriever's text encoder: a name, a folder or a hub id.")
]
CrossOption = Annotated[
    str | None,
    typer.Option(
        "--cross-encoder",
        metavar="NAME",
        help="A cross-encoder's folder or hub id; without it a small one is tuned for each template.",
    ),
]
LmOption = Annotated[
    str, typer.Option("--lm", metavar="NAME", help="The language model: a name, a folder or a hub id.")
]
ScorerOption = Annotated[
    str | None,
    typer.Option(
        "--scorer",
        metavar="NAME",
        help="How the language model is asked; default: yes_no for chats, title_likelihood for the others.",
    ),
]
OrdersOption = Annotated[
    int,
    typer.Option("--orders", min=0, help="Random orders to show candidates in, where a scorer reads several at once."),
]
ParaphrasesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--paraphrase", metavar="TEMPLATE", help="One that says the same as the first in other words; may be repeated."
    ),
]
StoreOption = Annotated[
    Path | None,
    typer.Option(
        "--store",
        metavar="FILE",
        envvar="LLMREC_LAB",
        help="Where results are kept and found again (SQLite); default: lab.sqlite in the user's data folder.",
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", help="Of samples, tuning, orders and the search.")]
ReportOption = Annotated[
    Path | None, typer.Option("--report", metavar="FILE", help="Write a page: .md, or .html with everything in it.")
]
PlotsOption = Annotated[bool, typer.Option("--plots/--no-plots", help="Draw plots for the page (extra `plots`).")]
TrialsOption = Annotated[int, typer.Option("--trials", min=2, help="Templates to try, the first one among them.")]
FieldsOption = Annotated[
    str | None,
    typer.Option("--fields", metavar="NAMES", help="Columns of the catalog to try beside those the template reads."),
]
WordingOption = Annotated[
    list[str] | None,
    typer.Option("--wording", metavar="TEXT", help="Words to try before a history; may be repeated."),
]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Write the best template there; it must not be there yet.")
]


def compare_prompts(
    templates: TemplatesArgument,
    dataset: DatasetOption = None,
    items: ItemsOption = None,
    interactions: InteractionsOption = None,
    user_profiles: ProfilesOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    on: OnOption = None,
    users: UsersOption = None,
    rerank_users: RerankOption = 100,
    first: FirstOption = "item_knn",
    depth: DepthOption = 20,
    encoder: EncoderOption = "minilm",
    cross_encoder: CrossOption = None,
    lm: LmOption = "smollm2",
    scorer: ScorerOption = None,
    orders: OrdersOption = 3,
    paraphrases: ParaphrasesOption = None,
    store: StoreOption = None,
    seed: SeedOption = 0,
    report: ReportOption = None,
    plots: PlotsOption = True,
    as_json: JsonOption = False,
) -> None:
    """Compare templates on the same users: paired differences with intervals, corrected for how many there are.

    Users are asked for what they took second last (validation); the test is never seen. What was measured before is
    read from the store.
    """
    from llmrec.lab import Lab, check_page, compare_templates, compared_to_dict, usual_judges, write_page

    chosen, alike = _loaded(templates), _loaded(paraphrases or [])
    judges = tuple(choice.value for choice in dict.fromkeys(on or [])) or usual_judges([*chosen, *alike])
    if report is not None:
        check_page(report, plots=plots)
    wanted = _wanted(
        [*chosen, *alike], users, rerank_users, first, depth, encoder, cross_encoder, lm, scorer, orders, seed
    )
    kept = _store(store)
    with progress() as say:
        ground, named = _ground((dataset, items, interactions, user_profiles), config, sets, say)
        setup = _setup(wanted, ground, kept, say)
        lab = Lab(ground, kept, named, seed, say)
        found = compare_templates(lab, [setup.judge(name) for name in judges], chosen, alike)
        if report is not None:
            say(f"writing {report}")
            write_page(report, found, command=_command(), plots=plots)
    if as_json:
        where = {"store": str(kept.path), "report": None if report is None else str(report)}
        print_json({**compared_to_dict(found), **where})
    else:
        _print(found, report)


def search_prompts(
    template: TemplateArgument,
    dataset: DatasetOption = None,
    items: ItemsOption = None,
    interactions: InteractionsOption = None,
    user_profiles: ProfilesOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    on: OneOnOption = None,
    users: UsersOption = None,
    rerank_users: RerankOption = 100,
    first: FirstOption = "item_knn",
    depth: DepthOption = 20,
    encoder: EncoderOption = "minilm",
    cross_encoder: CrossOption = None,
    lm: LmOption = "smollm2",
    scorer: ScorerOption = None,
    trials: TrialsOption = 20,
    fields: FieldsOption = None,
    wordings: WordingOption = None,
    store: StoreOption = None,
    seed: SeedOption = 0,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search fields, their order, length of history and wordings for a better template than the one given.

    It is chosen on one half of the users and measured on the other, beside the one given. Needs the extra `tune`.
    """
    from llmrec.lab import Lab, compared_to_dict, search_template, usual_judges, write_new

    (start,) = _loaded([template])
    judge = on.value if on is not None else usual_judges([start])[0]
    if out is not None:
        _check_out(out)
    wanted = _wanted([start], users, rerank_users, first, depth, encoder, cross_encoder, lm, scorer, 0, seed)
    kept = _store(store)
    with progress() as say:
        ground, named = _ground((dataset, items, interactions, user_profiles), config, sets, say)
        found = search_template(
            Lab(ground, kept, named, seed, say),
            start,
            _setup(wanted, ground, kept, say).halved(judge),
            trials=trials,
            fields=[] if fields is None else split_ids(fields, "--fields"),
            wordings=wordings or [],
        )
    if out is not None:
        write_new(out, found.best, commented=False)
    if as_json:
        trials_told = [trial.to_dict() for trial in found.trials]
        told = {"best": found.best.to_dict(), "chosen_on": found.chosen_on, "trials": trials_told}
        print_json({**told, "held": compared_to_dict(found.held), "out": None if out is None else str(out)})
    else:
        _print_search(found, out)


def _check_out(path: Path) -> None:
    """Raise ConfigError where the best template could not be written, before minutes of work for it."""
    if path.suffix != ".toml" or path.exists():
        raise ConfigError(f"--out {path} must end in .toml and not be there yet")
    if not path.parent.is_dir():
        raise ConfigError(f"--out {path}: {path.parent} is no folder; make it first")


def _loaded(names: list[str]) -> list[Template]:
    from llmrec.text import load_template

    return [load_template(name) for name in names]


def _wanted(
    templates: list[Template],
    users: int | None,
    rerank_users: int,
    first: str,
    depth: int,
    encoder: str,
    cross_encoder: str | None,
    lm: str,
    scorer: str | None,
    orders: int,
    seed: int,
) -> Wanted:
    from llmrec.lab import Wanted

    asked = scorer or ("yes_no" if any(t.kind == "chat" for t in templates) else "title_likelihood")
    return Wanted(users, rerank_users, first, depth, encoder, cross_encoder, lm, asked, orders, seed)


def _store(path: Path | None) -> Store:
    from llmrec.lab import Store, default_store

    return Store(default_store() if path is None else path)


def _ground(
    files: tuple[str | None, Path | None, Path | None, Path | None],
    config: Path | None,
    sets: list[str] | None,
    say: Callable[[str], None],
) -> tuple[Ground, str]:
    """The data, split, and their name."""
    from llmrec.data import load_data
    from llmrec.lab import Ground

    data = load_data(data_config(read_project(config, sets).data, *files), progress=say)
    return Ground.of(data.catalog, data.interactions, data.users), data.name


def _setup(wanted: Wanted, ground: Ground, store: Store, say: Callable[[str], None]) -> Setup:
    from llmrec.lab import Setup

    return Setup(wanted, ground, store.path.with_name(f"{store.path.stem}-models"), say)


def _command() -> str:
    """How this process was called, as one would type it."""
    words = sys.argv[1:] if sys.argv[1:2] == ["prompt"] else []
    return shlex.join(["llmrec", *words]) if words else ""


def _print(found: Compared, report: Path | None) -> None:
    from llmrec.lab import verdict

    console = results()
    for judged in found.judged:
        _print_judged(judged)
    if report is not None:
        console.print(printable(f"saved {report}"), soft_wrap=True)
    console.print(printable(verdict(found)), soft_wrap=True)


def _print_judged(judged: Judged) -> None:
    from llmrec.lab import difference_rows, remarks, score_rows

    console = results()
    print_rows(console, score_rows(judged), title=judged.judge)
    if judged.comparisons:
        print_rows(console, difference_rows(judged))
    for remark in remarks(judged):
        console.print(printable(f"- {remark}"), soft_wrap=True)
    console.print(printable(f"- {judged.card}"), soft_wrap=True)
    console.print()


def _print_search(found: Searched, out: Path | None) -> None:
    from llmrec.lab import METRICS, verdict

    console = results()
    rows = [("trial", f"{METRICS[0]} of those chosen on", "template")]
    ranked = sorted(found.trials, key=lambda trial: (-1.0 if trial.value is None else trial.value, -trial.number))
    for trial in reversed(ranked):
        value = "failed" if trial.value is None else f"{trial.value:.4f}"
        rows.append((str(trial.number), value, trial.error or trial.template.description))
    print_rows(console, rows, left=3, title=f"chosen on {found.chosen_on} users")
    for judged in found.held.judged:
        _print_judged(judged)
    if out is not None:
        console.print(printable(f"saved {out}"), soft_wrap=True)
    said = (
        verdict(found.held)
        if found.best.name != found.trials[0].template.name
        else (f"nothing that was tried is better than {found.best.name} on the users it was looked for on.")
    )
    console.print(printable(said), soft_wrap=True)
