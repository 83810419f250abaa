"""``llmrec refit``: fit a served bundle again, on its log and all that the service has seen since."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmrec.cli.output import print_json, progress
from llmrec.cli.source import JsonOption, check_place

if TYPE_CHECKING:
    from llmrec.serve.learn import Refitted

__all__ = ["refit"]


def refit(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle that is served.")],
    store: Annotated[
        str,
        typer.Option("--store", metavar="URL", help="The service's database; a path means SQLite."),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="Where the new bundle goes; it may be the old one's place.")
    ],
    deploy: Annotated[
        str | None,
        typer.Option("--deploy", metavar="ALIAS", help="Let this alias stand for it from the next reload on."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write it even where it is surely worse.")] = False,
    work: Annotated[
        Path | None,
        typer.Option("--work", metavar="FOLDER", help="Keep what training writes there: started again, a fit goes on."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fit a bundle again, on its log and what users did since.

    The bundle as it is and a refit without the newest events are asked for these; where the refit is surely worse,
    nothing is written, and the exit code is 1.
    """
    from llmrec.cli.key import opened_store

    check_place(out)
    with opened_store(store) as opened:
        from llmrec.serve.learn import deploy as let_stand
        from llmrec.serve.learn import refit as fit_again

        with progress() as say:
            found = fit_again(bundle, opened, out, progress=say, force=force, work=work)
        if deploy is not None and found.path is not None:
            let_stand(opened, found, deploy)
    if as_json:
        print_json({**found.to_dict(), "deployed": None if found.path is None else deploy})
    else:
        _show(found, deploy)
    if found.path is None:
        raise typer.Exit(1)


def _show(found: Refitted, deployed: str | None) -> None:
    typer.echo(found.reason)
    if found.held_out != "none":
        typer.echo(f"its log lacks what --holdout {found.held_out} held out; llmrec fit without it learns from all")
    if found.path is None:
        typer.echo("nothing was written; --force writes it nevertheless")
        return
    typer.echo(f"saved {found.path}")
    if deployed is not None:
        typer.echo(f"{deployed} stands for it from the next reload on")
    else:
        typer.echo(f"next: llmrec recommend --bundle {shlex.quote(str(found.path))} --users all")
