"""The application: every command, in groups, and the options all of them share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from llmrec import __version__
from llmrec.cli.assets import assets
from llmrec.cli.bulk import bulk
from llmrec.cli.compare import compare
from llmrec.cli.config import schema, show
from llmrec.cli.data import check, describe, split
from llmrec.cli.demo import demo
from llmrec.cli.doctor import doctor
from llmrec.cli.evaluate import evaluate
from llmrec.cli.experiment import create as create_experiment
from llmrec.cli.experiment import list_experiments
from llmrec.cli.experiment import report as report_experiment
from llmrec.cli.experiment import stop as stop_experiment
from llmrec.cli.explain import explain
from llmrec.cli.fit import fit
from llmrec.cli.items import add, change, delete
from llmrec.cli.key import add as add_key
from llmrec.cli.key import list_keys, revoke
from llmrec.cli.prompt import check as check_prompt
from llmrec.cli.prompt import diff, list_prompts, new
from llmrec.cli.prompt import show as show_prompt
from llmrec.cli.prompt_compare import compare_prompts, search_prompts
from llmrec.cli.prompt_render import render
from llmrec.cli.push import push
from llmrec.cli.recommend import recommend
from llmrec.cli.refit import refit
from llmrec.cli.runtime import with_runtime
from llmrec.cli.search import search, similar
from llmrec.cli.serve import serve
from llmrec.cli.train import encoder, pretrain
from llmrec.cli.train_language import language_model, preferences
from llmrec.cli.tune import tune

__all__ = ["COMMAND", "ENTRIES", "Entry", "app"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One command.

    Attributes:
        command: its function.
        panel: the heading it stands under in the help.
        example: one line that works, shown in its help.
        group: the command it is a part of, as "check" is of "data"; empty: it stands alone.
        runs_models: whether it has the options --device, --dtype and --threads.
        name: its name; empty: the function's.
    """

    command: Callable[..., None]
    panel: str
    example: str
    group: str = ""
    runs_models: bool = False
    name: str = ""


START, DATA, MAKE = "Start here", "Data and configuration", "Make a recommender"
ASK, SERVE, JUDGE, LOOK = "Ask a recommender", "Run a service", "Judge recommenders", "Look closer"

ENTRIES = (
    Entry(demo, START, "llmrec demo", runs_models=True),
    Entry(doctor, START, "llmrec doctor", runs_models=True),
    Entry(check, DATA, "llmrec data check --items items.csv --interactions log.csv", group="data"),
    Entry(describe, DATA, "llmrec data describe --dataset ml-100k --encoder minilm", group="data"),
    Entry(split, DATA, "llmrec data split --dataset ml-100k --by time --out splits/ml-100k", group="data"),
    Entry(show, DATA, "llmrec config show --config shop.toml --set stages.hybrid.keep=50", group="config"),
    Entry(schema, DATA, "llmrec config schema > llmrec.schema.json", group="config"),
    Entry(fit, MAKE, "llmrec fit --items items.csv --interactions log.csv --out bundles/shop", runs_models=True),
    Entry(encoder, MAKE, "llmrec train encoder --dataset ml-100k --out models/tuned", group="train", runs_models=True),
    Entry(pretrain, MAKE, "llmrec train pretrain --dataset ml-100k --out models/mlm", group="train", runs_models=True),
    Entry(
        language_model,
        MAKE,
        "llmrec train language-model --dataset ml-100k --out models/lm",
        name="language-model",
        group="train",
        runs_models=True,
    ),
    Entry(
        preferences,
        MAKE,
        "llmrec train preferences --impressions clicks.jsonl --dataset ml-100k --out models/dpo",
        group="train",
        runs_models=True,
    ),
    Entry(tune, MAKE, "llmrec tune --config shop.toml --trials 20 --work runs/shop --out best.toml", runs_models=True),
    Entry(add, MAKE, "llmrec items add --bundle bundles/shop new.csv", group="items", runs_models=True),
    Entry(
        change,
        MAKE,
        "llmrec items change --bundle bundles/shop --id 318 --field 'title=Heat'",
        group="items",
        runs_models=True,
    ),
    Entry(delete, MAKE, "llmrec items delete --bundle bundles/shop 318 50", group="items"),
    Entry(refit, MAKE, "llmrec refit bundles/shop --store shop.sqlite --out bundles/shop-new", runs_models=True),
    Entry(push, MAKE, "llmrec push bundles/shop my-name/shop --dry-run"),
    Entry(recommend, ASK, "llmrec recommend --bundle bundles/shop --users 42 --wish 'a heist'", runs_models=True),
    Entry(explain, ASK, "llmrec explain --bundle bundles/shop --users 42 --k 3", runs_models=True),
    Entry(similar, ASK, "llmrec similar --bundle bundles/shop 318 50", runs_models=True),
    Entry(search, ASK, "llmrec search --bundle bundles/shop 'a slow western'", runs_models=True),
    Entry(serve, SERVE, "llmrec serve bundles/shop --store shop.sqlite", runs_models=True),
    Entry(add_key, SERVE, "llmrec key add shop-front --scope feedback --store shop.sqlite", group="key", name="add"),
    Entry(list_keys, SERVE, "llmrec key list --store shop.sqlite", group="key", name="list"),
    Entry(revoke, SERVE, "llmrec key revoke k3f9 --store shop.sqlite", group="key"),
    Entry(bulk, SERVE, "llmrec bulk interactions log.jsonl --url http://localhost:8080"),
    Entry(
        create_experiment,
        SERVE,
        "llmrec experiment create titles --variant old=default --variant new=tuned --store store.sqlite",
        group="experiment",
        name="create",
    ),
    Entry(list_experiments, SERVE, "llmrec experiment list --store store.sqlite", group="experiment", name="list"),
    Entry(
        stop_experiment, SERVE, "llmrec experiment stop titles --store store.sqlite", group="experiment", name="stop"
    ),
    Entry(
        report_experiment,
        SERVE,
        "llmrec experiment report titles --store store.sqlite",
        group="experiment",
        name="report",
    ),
    Entry(
        evaluate,
        JUDGE,
        "llmrec evaluate --bundle bundles/shop --items items.csv --interactions log.csv",
        runs_models=True,
    ),
    Entry(compare, JUDGE, "llmrec compare reports/shop peer.parquet --dataset ml-100k", runs_models=True),
    Entry(list_prompts, LOOK, "llmrec prompt list --kind user", group="prompt", name="list"),
    Entry(show_prompt, LOOK, "llmrec prompt show user/recent", group="prompt", name="show"),
    Entry(render, LOOK, "llmrec prompt render user/recent --dataset ml-100k --user 42", group="prompt"),
    Entry(check_prompt, LOOK, "llmrec prompt test user/recent --dataset ml-100k", group="prompt", name="test"),
    Entry(
        compare_prompts,
        LOOK,
        "llmrec prompt compare user/recent user/genres --dataset ml-100k --report prompts.html",
        group="prompt",
        runs_models=True,
        name="compare",
    ),
    Entry(
        search_prompts,
        LOOK,
        "llmrec prompt search user/recent --dataset ml-100k --trials 20 --out better.toml",
        group="prompt",
        runs_models=True,
        name="search",
    ),
    Entry(diff, LOOK, "llmrec prompt diff user/recent user/genres --dataset ml-100k", group="prompt"),
    Entry(new, LOOK, "llmrec prompt new shelves.toml --kind item --fields title,category", group="prompt"),
    Entry(assets, LOOK, "llmrec assets --fetch minilm"),
)

GROUPS = {
    "data": "Check data, describe them, and split them for other libraries.",
    "train": "Train the models a pipeline is made of.",
    "items": "Add, change and delete items of a saved bundle, without training.",
    "key": "Make, list and revoke the keys that open the service.",
    "experiment": "Compare pipelines on the people of a service, and look at any time without harm.",
    "prompt": "Look at templates, write new ones, and find out which is better and whether that is real.",
    "config": "Show the configuration a command would use, and what may stand in one.",
}
"""What a group of commands is for."""


LONGEST_HELP = 200
"""Characters of a command's first sentence in the list of commands; it wraps, and is not cut."""


class _Grouped(TyperGroup):
    """Lists commands under headings."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order of the entries."""
        ranked = list(dict.fromkeys(entry.group or _name(entry) for entry in ENTRIES))
        return sorted(super().list_commands(ctx), key=ranked.index)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, a section a heading."""
        panels = {entry.group or _name(entry): entry.panel for entry in reversed(ENTRIES)}
        named = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        for panel, commands in groupby(named, key=lambda named: panels.get(named[0], "Commands")):
            with formatter.section(panel):
                formatter.write_dl(
                    [(name, c.get_short_help_str(LONGEST_HELP)) for name, c in commands if c is not None]
                )


app = typer.Typer(
    name="llmrec",
    cls=_Grouped,
    help="Recommendations from text-described catalogs and interaction logs, with pretrained language models.",
    epilog=(
        "An option wins over the environment (LLMREC_SET, LLMREC_DEVICE ...), which wins over the file of --config. "
        "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 bad data, 130 stopped with Ctrl-C."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"llmrec {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Recommendations from text-described catalogs and interaction logs, with pretrained language models."""


def _name(entry: Entry) -> str:
    return entry.name or entry.command.__name__.replace("_", "-")


def _register() -> None:
    groups: dict[str, typer.Typer] = {}
    for entry in ENTRIES:
        if entry.group and entry.group not in groups:
            groups[entry.group] = typer.Typer(
                help=GROUPS[entry.group], no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None
            )
            app.add_typer(groups[entry.group], name=entry.group)
        command = with_runtime(entry.command) if entry.runs_models else entry.command
        place = groups[entry.group] if entry.group else app
        place.command(_name(entry), epilog=f"\b\nExample:\n  {entry.example}")(command)


_register()

COMMAND = typer.main.get_command(app)
"""The application as the parser takes it: made once, since making it costs as much as a short command."""
