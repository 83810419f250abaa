"""``llmrec search`` and ``llmrec similar``: by text alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmrec.cli.output import print_json, print_rows, results, short_score
from llmrec.cli.source import BundleOption, CountOption, JsonOption

if TYPE_CHECKING:
    from llmrec.pipeline import Recommender
    from llmrec.types import Ranking

__all__ = ["search", "show_lists", "similar", "title_of"]


def similar(
    bundle: BundleOption,
    item_ids: Annotated[list[str], typer.Argument(metavar="ITEM", help="Item ids.")],
    k: CountOption = 10,
    as_json: JsonOption = False,
) -> None:
    """Show the items whose text is nearest to an item's."""
    from llmrec.opening import load

    recommender = load(bundle)
    show_lists(recommender, recommender.similar(item_ids, k), [{"item_id": i} for i in item_ids], as_json)


def search(
    bundle: BundleOption,
    texts: Annotated[list[str], typer.Argument(metavar="TEXT", help="Free texts; quote each one.")],
    k: CountOption = 10,
    as_json: JsonOption = False,
) -> None:
    """Show the items whose text is nearest to a free text."""
    from llmrec.opening import load

    recommender = load(bundle)
    show_lists(recommender, recommender.search(texts, k), [{"text": text} for text in texts], as_json)


def show_lists(recommender: Recommender, ranking: Ranking, asked: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """Print one list per query: as a table, or as JSON with every field of the items.

    Args:
        recommender: knows the items' ids and fields.
        ranking: n lists.
        asked: n queries as JSON values, such as `{"user_id": "42"}`.
        as_json: print JSON.
    """
    names = [column for column in recommender.catalog.columns if column != "item_id"]
    found: list[dict[str, Any]] = []
    for query, items, row in zip(asked, recommender.decode(ranking), ranking.items, strict=True):
        records = recommender.catalog.records(row[row >= 0])
        entries = [
            {
                "rank": r.rank,
                "item_id": r.item_id,
                "score": short_score(r.score),
                **({} if r.propensity is None else {"propensity": short_score(r.propensity)}),
                "fields": {n: rec[n] for n in names},
            }
            for r, rec in zip(items, records, strict=True)
        ]
        found.append({**query, "items": entries})
    if as_json:
        print_json(found)
        return
    console = results()
    for query, entry in zip(asked, found, strict=True):
        rows = [("rank", "item_id", *names, "score")]
        rows += [
            (str(e["rank"]), e["item_id"], *map(_cell, e["fields"].values()), f"{e['score']:z.4f}")
            for e in entry["items"]
        ]
        print_rows(console, rows, left=2 + len(names), title=title_of(query))


def title_of(query: Mapping[str, Any]) -> str:
    """What was asked, in a line."""
    shown = ((name, ", ".join(v) if isinstance(v, list) else str(v)) for name, v in query.items())
    return "; ".join(f"{name.removesuffix('_id')} {value}" for name, value in shown)


def _cell(value: object) -> str:
    return "" if value is None else str(value)
