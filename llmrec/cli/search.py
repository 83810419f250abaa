"""``llmrec search`` and ``llmrec similar``: by text alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmrec.cli.output import print_json, print_rows, results
from llmrec.cli.source import BundleOption

if TYPE_CHECKING:
    from llmrec.pipeline import Recommender
    from llmrec.types import Ranking

__all__ = ["search", "show_lists", "similar"]

CountOption = Annotated[int, typer.Option("--k", min=1, help="How many items.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def similar(
    bundle: BundleOption,
    item_ids: Annotated[list[str], typer.Argument(metavar="ITEM...", help="Item ids.")],
    k: CountOption = 10,
    as_json: JsonOption = False,
) -> None:
    """Show the items whose text is nearest to an item's."""
    from llmrec.pipeline import load

    recommender = load(bundle)
    show_lists(recommender, recommender.similar(item_ids, k), item_ids, as_json)


def search(
    bundle: BundleOption,
    texts: Annotated[list[str], typer.Argument(metavar="TEXT...", help="Free texts; quote each one.")],
    k: CountOption = 10,
    as_json: JsonOption = False,
) -> None:
    """Show the items whose text is nearest to a free text."""
    from llmrec.pipeline import load

    recommender = load(bundle)
    show_lists(recommender, recommender.search(texts, k), texts, as_json)


def show_lists(recommender: Recommender, ranking: Ranking, names: list[str], as_json: bool) -> None:
    """Print one list per name: as a table, or as JSON with every field of the items."""
    fields = [column for column in recommender.catalog.columns if column != "item_id"]
    found: list[dict[str, Any]] = []
    for name, items, row in zip(names, recommender.decode(ranking), ranking.items, strict=True):
        records = recommender.catalog.records(row[row >= 0])
        entries = [
            {"rank": r.rank, "item_id": r.item_id, "score": round(r.score, 6), **{f: record[f] for f in fields}}
            for r, record in zip(items, records, strict=True)
        ]
        found.append({"query": name, "items": entries})
    if as_json:
        print_json(found)
        return
    console = results()
    for entry in found:
        rows = [("rank", "item_id", *fields, "score")]
        rows += [
            (str(e["rank"]), e["item_id"], *("" if e[f] is None else str(e[f]) for f in fields), f"{e['score']:.4f}")
            for e in entry["items"]
        ]
        print_rows(console, rows, left=2 + len(fields), title=entry["query"])
