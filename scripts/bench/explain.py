"""Are explanations true? What is cited is taken away, beside every other item of the same history.

    python scripts/bench/explain.py --bundle bundles/ml-100k --dataset ml-100k --judge bundles/ml-100k-1
    python scripts/bench/explain.py --bundle bundles/games --dataset FOLDER --json

Cases are the first five recommendations to random users of leave last out, as many users as it takes to have so many
cases that cite an item of the history. A case is won against another item of the history if the recommended item loses
more places without the cited one than without the other; a tie is half a win; a case counts its mean over all others,
which is the chance to win against a random one. Every user counts the mean of their cases; intervals are by bootstrap
over users, 95 %.

The citation is chosen by such removals, so it is judged by several rankings: "same candidates", which chose it;
"lists", the ordinary `recommend` with the removed item excluded, where other candidates may come in (an item beyond
the list's end stands behind it); "judge", the lists of --judge, a recommender fitted anew, or otherwise; and the list
of every retriever alone that reads histories. Beside it stand simpler citations for the same cases: the newest item,
the one whose title has the most words in common, the one most often taken by the same people (cosine), the one without
which the score falls most.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
import scipy.sparse as sp

import llmrec
from llmrec.data import leave_last_out
from llmrec.evaluate import bootstrap_interval
from llmrec.reasons import FixedCandidates
from llmrec.reasons.names import words
from llmrec.types import Csr, Queries, Ranking

TOP = 5
"""Recommendations of a user that are explained."""

DEEP = 500
"""Places of a list that are looked at."""

MOST = 200
"""Items of a history that are taken away, the newest."""

Recommender = llmrec.Recommender


@dataclass(frozen=True)
class Judged:
    """A user: places lost without each item of the history, by each judge; and what was cited.

    Attributes:
        lost: by judge, Int64[items, history].
        cited: by way of citing, Int64[items]: a place in the history; -1: none.
        kinds: of the first reason, by item.
    """

    lost: dict[str, np.ndarray]
    cited: dict[str, np.ndarray]
    kinds: list[str]


def main() -> None:
    """Measure, print."""
    args = _arguments()
    recommender = llmrec.load(args.bundle)
    judge = None if args.judge is None else llmrec.load(args.judge)
    log = llmrec.load_dataset(args.dataset).interactions
    found = measure(recommender, judge, log, args.cases, args.seed)
    found["seconds"] = timed(recommender, log, args.timed, args.seed)
    print(json.dumps(found, indent=1) if args.json else markdown(found))


def measure(
    recommender: Recommender, judge: Recommender | None, log: llmrec.Interactions, wanted: int, seed: int
) -> dict[str, Any]:
    """All of it but the time, as JSON values."""
    split = leave_last_out(log)
    together = _together(split.train)
    queries = split.test.queries
    judged: list[Judged] = []
    cited = 0
    for user in np.random.default_rng(seed).permutation(len(queries)):
        query = queries.take(np.array([user]))
        if len(np.unique(query.items)) < 2:
            continue
        judged.append(_judged(recommender, judge, query, together))
        cited += int((judged[-1].cited["explanation"] >= 0).sum())
        if cited >= wanted:
            break
    kinds = [kind for one in judged for kind in one.kinds]
    same = {name: float(np.mean([(one.lost[name] <= 0).mean() for one in judged])) for name in judged[0].lost}
    judges = [name for name, share in same.items() if share < 1]
    return {
        "users": len(judged),
        "recommendations": len(kinds),
        "cases": cited,
        "first reason": {kind: round(kinds.count(kind) / len(kinds), 3) for kind in sorted(set(kinds))},
        "history": float(np.median([next(iter(one.lost.values())).shape[1] for one in judged])),
        "wins": {way: {name: _share(judged, way, name) for name in judges} for way in judged[0].cited},
        "changes nothing": {name: round(same[name], 3) for name in judges},
    }


def _judged(recommender: Recommender, judge: Recommender | None, query: Queries, together: sp.csr_matrix) -> Judged:
    (explanations,) = recommender.explain(query, k=TOP)
    rows = recommender.catalog.items.rows([one.item for one in explanations])
    prepared = reduce(lambda asked, policy: policy.prepare(asked), recommender.policies, query)
    fixed = FixedCandidates.of(recommender.stages, prepared, recommender.catalog.tie_order)
    history = _newest(query)
    same = fixed.rank(_without(prepared, history, exclude=False))
    removed = _without(query, history, exclude=True)
    lists = {"same candidates": same, "lists": recommender.recommend(removed, DEEP)}
    if judge is not None:
        lists["judge"] = judge.recommend(removed, DEEP)
    apart = _without(prepared, history, exclude=False)
    for stage in recommender.stages:
        lists |= {f"{one.name} alone": one.retrieve(apart, DEEP) for one, _ in stage.retrievers}
    lost = {name: _lost(ranking, rows) for name, ranking in lists.items()}
    firsts = [next((r.item for r in one.reasons if r.item is not None), None) for one in explanations]
    places = {recommender.catalog.items[int(item)]: place for place, item in enumerate(history)}
    cited = {
        "explanation": np.array([-1 if item is None else places.get(item, -1) for item in firsts]),
        "newest": np.zeros(len(rows), dtype=np.int64),
        "title": _likest(recommender, rows, history),
        "taken together": np.asarray(together[rows][:, history].todense()).argmax(axis=1),
        "score": _score_falls(same, rows).argmax(axis=1),
    }
    kinds = [_kind(one) for one in explanations]
    return Judged(lost, cited, kinds)


def _kind(explanation: llmrec.Explanation) -> str:
    if not explanation.reasons:
        return "none"
    first = explanation.reasons[0]
    return "history as a whole" if first.kind == "history" and first.item is None else first.kind


def _newest(query: Queries) -> np.ndarray:
    """Different items of a history, the newest first."""
    backwards = query.items[::-1]
    return backwards[np.sort(np.unique(backwards, return_index=True)[1])][:MOST]


def _without(query: Queries, history: np.ndarray, *, exclude: bool) -> Queries:
    """The query, and the query without each item of its history; whether that must not come back either."""
    keep = np.ones((len(history) + 1, len(query.items)), dtype=np.bool_)
    keep[1:] = query.items[None, :] != history[:, None]
    many = query.take(np.zeros(len(keep), dtype=np.int64)).where(keep.ravel())
    if not exclude:
        return many
    return replace(many, exclude=Csr.from_lists([[], *([int(item)] for item in history)]))


def _lost(ranking: Ranking, rows: np.ndarray) -> np.ndarray:
    """Places that items lose, Int64[items, history]; an item that a list does not hold stands behind its end."""
    there = ranking.items[:, None, :] == rows[None, :, None]
    places = np.where(there.any(axis=2), there.argmax(axis=2), ranking.items.shape[1])
    return (places[1:] - places[0]).T


def _score_falls(ranking: Ranking, rows: np.ndarray) -> np.ndarray:
    scores = np.stack([ranking.scores[np.arange(len(ranking)), (ranking.items == row).argmax(axis=1)] for row in rows])
    return scores[:, :1] - scores[:, 1:]


def _likest(recommender: Recommender, rows: np.ndarray, history: np.ndarray) -> np.ndarray:
    """Which title of a history has the most words in common with each item's, for its length; the newest of equals."""
    column = recommender.catalog.table.column("title")
    known = {int(row): set(words(column[int(row)].as_py() or "")) for row in (*rows, *history)}

    def alike(one: int, other: int) -> float:
        return len(known[one] & known[other]) / max(1, len(known[one] | known[other]))

    return np.array([[alike(int(row), int(item)) for item in history] for row in rows]).argmax(axis=1)


def _together(train: llmrec.Interactions) -> sp.csr_matrix:
    """How often the same people took two items, as a cosine."""
    ones = np.ones(len(train.items), dtype=np.float32)
    taken = sp.csr_matrix((ones, train.items, train.offsets), shape=(train.n_users, train.catalog_size))
    taken.data[:] = 1
    counts = np.maximum(np.asarray(taken.sum(axis=0)).ravel(), 1)
    scaled = taken @ sp.diags(1 / np.sqrt(counts))
    return (scaled.T @ scaled).tocsr()


def _share(judged: list[Judged], way: str, name: str) -> dict[str, float]:
    """Wins of a way of citing, by one judge, over the cases that the explanation cites something in."""
    means = []
    for one in judged:
        cases = np.flatnonzero(one.cited["explanation"] >= 0)
        wins = [_wins(one.lost[name][case], int(one.cited[way][case])) for case in cases]
        means += [float(np.mean(wins))] if wins else []
    interval = bootstrap_interval(np.array(means))
    return {key: round(value, 4) for key, value in interval.to_dict().items()}


def _wins(lost: np.ndarray, place: int) -> float:
    others = np.delete(lost, place)
    return float((others < lost[place]).mean() + (others == lost[place]).mean() / 2)


def timed(recommender: Recommender, log: llmrec.Interactions, count: int, seed: int) -> dict[str, float]:
    """Seconds of explaining the best recommendation of one user, after a first one that is not counted."""
    queries = leave_last_out(log).test.queries
    users = np.random.default_rng(seed).permutation(len(queries))[: count + 1]
    explain: Callable[[int], Any] = lambda user: recommender.explain(queries.take(np.array([user])))  # noqa: E731
    seconds = []
    for user in users:
        start = time.perf_counter()
        explain(int(user))
        seconds.append(time.perf_counter() - start)
    kept = np.array(seconds[1:])
    return {
        "users": len(kept),
        "median": round(float(np.median(kept)), 4),
        "p95": round(float(np.quantile(kept, 0.95)), 4),
    }


def markdown(found: dict[str, Any]) -> str:
    """Tables of the same."""
    kinds = ", ".join(f"{kind} {share:.1%}" for kind, share in found["first reason"].items())
    lines = [
        f"{found['users']:,} users, {found['recommendations']:,} recommendations, of which {found['cases']:,} cite an "
        f"item of a history of {found['history']:.0f} items (median). First reasons: {kinds}. Seconds for one: "
        f"{found['seconds']['median']} (median), {found['seconds']['p95']} (95 %).",
        "",
        "| judged by | removals that cost no place | " + " | ".join(found["wins"]) + " |",
        "|---|---|" + "---|" * len(found["wins"]),
    ]
    for judge, share in found["changes nothing"].items():
        wins = [ways[judge] for ways in found["wins"].values()]
        cells = [f"{one['mean']:.3f} [{one['low']:.3f}, {one['high']:.3f}]" for one in wins]
        lines.append(f"| {judge} | {share:.3f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Judge explanations by what the lists lose without what they cite.")
    parser.add_argument("--bundle", required=True, help="fitted with --holdout last")
    parser.add_argument("--dataset", default="ml-100k", help="a name or a folder")
    parser.add_argument("--judge", help="a bundle of the same catalog, fitted anew")
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--timed", type=int, default=50, help="users whose explanation is timed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
