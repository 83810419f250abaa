"""What the demo shows, as plain values: every one computed from the bundle just loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from llmrec.data import Holdout, Interactions
    from llmrec.evaluate import Report
    from llmrec.pipeline import Recommender
    from llmrec.types import Item, Queries

__all__ = ["measure", "three_users", "typed_item", "weights", "wish_list"]

TASTES = ("Sci-Fi", "Children's", "Horror")
RECENT = 12
SHOWN = 5

Say = Callable[[str], None]


def three_users(recommender: Recommender, holdout: Holdout) -> list[dict[str, Any]]:
    """For one user of each taste: the last items, the recommendations, and the scores behind them."""
    found = []
    for taste in TASTES:
        row = _most_of(recommender, holdout, taste)
        query = holdout.queries.take(np.array([row]))
        assert recommender.histories is not None  # the demo's bundle stores them
        last = query.items[::-1][:SHOWN]
        found.append(
            {
                "user_id": recommender.histories.users[int(holdout.user_rows[row])],
                "taste": taste,
                "last_items": [_title(recommender, item) for item in last],
                "recommendations": _explained(recommender, query),
            }
        )
    return found


def wish_list(recommender: Recommender, wish: str) -> dict[str, Any]:
    """What a free-text wish brings, without any history."""
    return {"wish": wish, "recommendations": _explained(recommender, recommender.queries(wishes=[wish]))}


def typed_item(recommender: Recommender, item: Item, wish: str, fan: Mapping[str, Any]) -> dict[str, Any]:
    """Where an item typed in on the spot lands: for a wish, in a search, and for a user who might like it.

    Args:
        recommender: knows nothing of the item.
        item: the new item.
        wish: a free text that the item should answer.
        fan: an entry of `three_users`.
    """
    grown = recommender.add_items([item])
    everything = len(grown.catalog)
    row = int(grown.catalog.items.rows([item.id])[0])
    lists = {
        f"the wish {wish!r}": grown.recommend(grown.queries(wishes=[wish]), everything),
        f"the text search {wish!r}": grown.search([wish], everything),
        f"user {fan['user_id']} ({fan['taste']})": grown.recommend(grown.queries([fan["user_id"]]), everything),
    }
    ranks = {name: int(np.flatnonzero(ranking.items[0] == row)[0]) + 1 for name, ranking in lists.items()}
    near = grown.decode(grown.similar([item.id], 3))[0]
    rows = grown.catalog.items.rows([r.item_id for r in near])
    return {
        "item": {"item_id": item.id, **item.fields},
        "of": everything,
        "ranks": ranks,
        "nearest": [_title(grown, r) for r in rows],
    }


def weights(recommender: Recommender) -> dict[str, dict[str, float]]:
    """The weight of each score column in each stage's fusion, by stage."""
    from llmrec.fuse import ReciprocalRankFusion

    fusions = {stage.name: stage.fusion for stage in recommender.stages}
    return {name: dict(f.weights) for name, f in fusions.items() if isinstance(f, ReciprocalRankFusion)}


def measure(recommender: Recommender, log: Interactions, holdout: Holdout, say: Say) -> dict[str, Any]:
    """Measure the whole and each part of it on all users, and test the whole against its best part."""
    from llmrec.evaluate import Case, compare_pairs, judge, parts

    reports: dict[str, Report] = {}
    for name, part in parts(recommender).items():
        say(f"measuring {name} on {len(holdout)} users")
        reports |= judge(log, {_LABELS.get(name, name): Case(part, holdout)})
    whole = _LABELS.get(recommender.stages[-1].name, recommender.stages[-1].name)
    best = max((name for name in reports if name != whole), key=lambda name: reports[name].metrics["NDCG@10"].mean)
    test = compare_pairs(reports[whole], reports[best])
    found = {"a": whole, "b": best, "ndcg": test.difference, "low": test.low, "high": test.high, "p": test.p_value}
    return {
        "rows": {name: report.to_dict() for name, report in reports.items()},
        "tests": [found],
        "protocol": str(next(iter(reports.values())).card),
    }


_LABELS = {
    "next_item": "linear next-item model",
    "transition": "transitions",
    "dense": "text zero-shot (MiniLM)",
}


def _most_of(recommender: Recommender, holdout: Holdout, taste: str) -> int:
    """The case whose latest items are most of one genre; the longer history where two are alike."""
    records = recommender.catalog.records(np.arange(len(recommender.catalog), dtype=np.int32))
    is_taste = np.array([taste in (record["genres"] or "").split() for record in records])
    histories = [holdout.queries.histories[row] for row in range(len(holdout))]
    shares = [(is_taste[h[-RECENT:]].mean() if len(h) >= RECENT else 0.0, len(h)) for h in histories]
    return max(range(len(shares)), key=lambda row: shares[row])


def _explained(recommender: Recommender, query: Queries) -> list[dict[str, Any]]:
    trace = recommender.trace(query, SHOWN)
    entries = []
    for place, item in enumerate(trace.ranking.items[0]):
        scores = trace.scores(0, int(item))
        entries.append(
            {
                "rank": place + 1,
                "item": _title(recommender, item),
                "genres": recommender.catalog.records(np.array([item], np.int32))[0]["genres"],
                "ranks": trace.ranks(0, int(item)),
                "scores": {name: round(score, 4) for name, score in scores.items()},
            }
        )
    return entries


def _title(recommender: Recommender, row: int) -> str:
    record = recommender.catalog.records(np.array([row], dtype=np.int32))[0]
    return f"{record['title']} ({record['year']})" if record["year"] else str(record["title"])
