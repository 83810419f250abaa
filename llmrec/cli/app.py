"""The application: every command, and the options all of them share."""

from __future__ import annotations

from typing import Annotated

import typer

from llmrec import __version__
from llmrec.cli.assets import assets
from llmrec.cli.demo import demo
from llmrec.cli.evaluate import evaluate
from llmrec.cli.fit import fit
from llmrec.cli.recommend import recommend
from llmrec.cli.search import search, similar

__all__ = ["app"]

app = typer.Typer(
    name="llmrec",
    help="Recommendations from text-described catalogs and interaction logs, with pretrained language models.",
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


for command in (demo, fit, recommend, similar, search, evaluate, assets):
    app.command()(command)
