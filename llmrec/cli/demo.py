"""``llmrec demo``: the main job on real MovieLens-100K and real MiniLM, start to finish."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmrec.cli.output import print_json, print_rows, printable, progress, results
from llmrec.cli.source import JsonOption, check_place

if TYPE_CHECKING:
    from rich.console import Console

    from llmrec.data import Dataset
    from llmrec.types import Item

__all__ = ["demo", "fitted"]

WISH = "a slow western with gunslingers"
NEW_WISH = "a robot stranded alone on a distant planet"
WIDE = 120
"""Columns of a terminal from which on genres are shown too."""
NEW_TITLE, NEW_GENRES = "The Last Robot on Titan", "Sci-Fi Adventure"


def demo(
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the bundle goes.")] = Path(
        "bundles/ml-100k"
    ),
    wish: Annotated[str, typer.Option("--wish", metavar="TEXT", help="A free-text wish.")] = WISH,
    title: Annotated[str, typer.Option("--title", metavar="TEXT", help="Title of the item typed in.")] = NEW_TITLE,
    genres: Annotated[str, typer.Option("--genres", metavar="TEXT", help="Its genres.")] = NEW_GENRES,
    new_wish: Annotated[
        str, typer.Option("--new-wish", metavar="TEXT", help="A wish the new item should answer.")
    ] = NEW_WISH,
    refit: Annotated[bool, typer.Option("--refit", help="Fit again even if the bundle is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the main job on MovieLens-100K: fetch, embed, fit, recommend, measure, save.

    The first run fits and saves a bundle; later ones load it, and compute every number from it again.
    """
    from llmrec.data import load_dataset
    from llmrec.types import Item

    check_place(out)
    item = Item("new-1", {"title": title, "genres": genres})
    with progress() as say:
        data = load_dataset("ml-100k", progress=say)
        shown = _tour(data, fitted(data, out, refit, say), wish, item, new_wish, say)
    if as_json:
        print_json(shown)
    else:
        _show(results(), shown, out)


def _tour(
    data: Dataset, bundle: Path, wish: str, item: Item, new_wish: str, say: Callable[[str], None]
) -> dict[str, Any]:
    """Everything that is shown, computed from the bundle."""
    from llmrec.cli.tour import measure, three_users, typed_item, weights, wish_list
    from llmrec.data import leave_last_out
    from llmrec.opening import load

    say("loading the bundle")
    recommender = load(bundle)
    holdout = leave_last_out(data.interactions).test
    say("recommending")
    users = three_users(recommender, holdout)
    fan = next(user for user in users if user["taste"] == "Sci-Fi")
    return {
        "dataset": {"name": data.name, "fingerprint": data.fingerprint},
        "users": users,
        "wish": wish_list(recommender, wish),
        "new_item": typed_item(recommender, item, new_wish, fan),
        "fusion": weights(recommender),
        "results": measure(recommender, data.interactions, holdout, say),
        "bundle": str(bundle),
    }


def fitted(data: Dataset, out: Path, refit: bool, say: Callable[[str], None]) -> Path:
    """Return a bundle of the default pipeline, fitted without the last interactions; fit one where there is none."""
    from llmrec.build import describe_fit, fit
    from llmrec.bundle import read_manifest
    from llmrec.config import Config
    from llmrec.errors import BundleError

    config = Config()
    wanted = describe_fit(config, data.catalog, data.interactions, "last")
    try:
        if not refit and read_manifest(out.resolve()).get("structure", {}).get("about") == wanted:
            return out.resolve()
    except BundleError:
        pass  # none there yet, or not ours to read: fitting says what is wrong with the place, if anything
    recommender = fit(config, data.catalog, data.interactions, holdout="last", progress=say)
    say("saving the bundle")
    return recommender.save(out)


def _show(console: Console, shown: Mapping[str, Any], out: Path) -> None:
    console.print("Each cell: #rank in that source's own list, if it proposed the item, and its score.", "", sep="\n")
    for user in shown["users"]:
        console.print(f"[bold]User {user['user_id']}[/bold], lately {user['taste']}")
        console.print(printable("  last:  " + " · ".join(user["last_items"])), soft_wrap=True)
        _show_list(console, user["recommendations"])
    wish = shown["wish"]
    console.print("[bold]A wish, no history:[/bold]", printable(wish["wish"]), soft_wrap=True)
    _show_list(console, wish["recommendations"])
    _show_new_item(console, shown["new_item"])
    _show_results(console, shown["results"], shown["fusion"])
    console.print("[bold]The bundle[/bold] is saved in", printable(shown["bundle"]), soft_wrap=True)
    following = f"next: {_command()} recommend --bundle {shlex.quote(str(out))} --users 42 --wish 'a heist'"
    console.print(printable(following), soft_wrap=True)


def _show_list(console: Console, entries: list[dict[str, Any]]) -> None:
    """Print a list with the rank each retriever and stage gave, and the scores they gave it for."""
    columns = ["popularity", "next_item", "transition", "dense", "hybrid"]
    fields = ("item", "genres") if console.width >= WIDE else ("item",)
    rows: list[tuple[str, ...]] = [("", *fields, *(_HEADS[c] for c in columns))]
    for entry in entries:
        cells = [_cell(entry["ranks"].get(c), entry["scores"].get(c), whole=c == "popularity") for c in columns]
        rows.append((str(entry["rank"]), *(entry[field] or "" for field in fields), *cells))
    print_rows(console, rows, left=1 + len(fields))


_HEADS = {
    "popularity": "popular",
    "next_item": "next item",
    "transition": "transitions",
    "dense": "text",
    "hybrid": "fused",
}


def _cell(rank: int | None, score: float | None, *, whole: bool) -> str:
    if score is None:
        return "-"
    shown = f"{score:.0f}" if whole else f"{score:.3f}"
    return shown if rank is None else f"#{rank}  {shown}"


def _show_new_item(console: Console, new: Mapping[str, Any]) -> None:
    item = new["item"]
    console.print(
        "[bold]A new item, typed in now:[/bold]", printable(f"{item['title']} ({item['genres']})"), soft_wrap=True
    )
    console.print(printable("  nearest by text: " + " · ".join(new["nearest"])), soft_wrap=True)
    for name, rank in new["ranks"].items():
        console.print(printable(f"  rank {rank:>4} of {new['of']} for {name}"), soft_wrap=True)
    console.print()


def _show_results(console: Console, found: Mapping[str, Any], fusion: Mapping[str, Any]) -> None:
    rows: list[tuple[str, ...]] = [("method", "NDCG@10 [95%]", "Recall@10 [95%]", "coverage@10", "users")]
    for name, report in found["rows"].items():
        metrics = (report["metrics"][m] for m in ("NDCG@10", "Recall@10"))
        shown = (f"{m['mean']:.4f} [{m['low']:.4f}, {m['high']:.4f}]" for m in metrics)
        rows.append((name, *shown, f"{report['totals']['coverage@10']:.3f}", str(report["protocol"]["n_users"])))
    print_rows(console, rows, title="Measured on each user's last interaction, which no model has seen")
    for test in found["tests"]:
        found_out = f"{test['ndcg']:+.4f} [{test['low']:+.4f}, {test['high']:+.4f}], p = {test['p']:.3f} (paired)"
        console.print(printable(f"{test['a']} minus {test['b']}: {found_out}"), soft_wrap=True)
    weights = "; ".join(f"{stage}: " + ", ".join(f"{n} {w:g}" for n, w in w.items()) for stage, w in fusion.items())
    console.print(printable(f"fusion weights, tuned on validation: {weights}"), soft_wrap=True)
    if any(weight == 0 for stage in fusion.values() for weight in stage.values()):
        console.print("  0: it adds nothing; heard only where the others have no evidence")
    console.print(printable(f"protocol: {found['protocol']}"), "", sep="\n", soft_wrap=True)


def _command() -> str:
    """How the user can call llmrec here: by name if it is on the path, else through this Python."""
    return "llmrec" if shutil.which("llmrec") else f"{sys.executable} -m llmrec"
