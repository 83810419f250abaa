"""What is known of somebody, taken away piece by piece; and how far an item falls without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from llmrec.errors import TemplateError
from llmrec.reasons.explanation import Kind
from llmrec.reasons.fixed import FixedCandidates
from llmrec.types import Int32Array, Queries, Ranking

__all__ = ["Evidence", "Measured", "Standing", "measure", "profile_evidence", "standings"]

NEWEST = 200
"""So many different items of a history are looked at, the newest."""

CLOSELY = 20
"""Where stages follow the first, so many items of a history are looked at by all of them: those that matter to it."""

NOISE = 0.03
"""Of the spread of the scores: two candidates this near are not clearly the one above the other."""

Float64Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an item stands among its candidates.

    Attributes:
        rank: 1-based place.
        score: its score.
        depth: log2 of the rank it has on average if scores are unsure by `NOISE`: a fall of less than a place shows.
        candidates: among how many.
    """

    rank: int
    score: float
    depth: float
    candidates: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """Something that is known, and where the item stands without it.

    Attributes:
        kind: "history", "wish" or "profile"; "field" of the item.
        item: the row of a history item; -1 for anything else.
        field: a field's name; "" for anything else.
        without: where the item stands then.
    """

    kind: Kind
    item: int
    field: str
    without: Standing


@dataclass(frozen=True, slots=True)
class Measured:
    """Where one item stands, and where it would stand without what is known.

    Attributes:
        base: with all that is known.
        nothing: without history and wish.
        without_history: without the whole history; a wish is left.
        evidence: without each piece.
    """

    base: Standing
    nothing: Standing
    without_history: Standing
    evidence: tuple[Evidence, ...]


def measure(fixed: FixedCandidates, query: Queries, items: Sequence[int]) -> list[Measured]:
    """Rank the same candidates for a query, and for the same query without each piece of its history and its wish.

    All that is asked of the first stage is one batch, and all that is asked of the whole cascade is another.

    Args:
        fixed: the candidates; the items are among them.
        query: one query, as the policies prepared it: what it leaves out stays excluded.
        items: m catalog rows.
    """
    history = _newest(query)
    chosen = [history] * len(items)
    if len(fixed.stages) > 1 and len(history) > CLOSELY:
        chosen = _strongest(fixed, query, items, history)
    united = np.unique(np.concatenate([np.empty(0, np.int32), *chosen]))
    rows = {int(row): place for place, row in enumerate(united.tolist(), start=1)}
    has_wish = bool(query.wishes[0])
    ranking = fixed.rank(_variants(query, united))
    found = []
    for item, own in zip(items, chosen, strict=True):
        stands = standings(ranking, item)
        evidence = [Evidence("history", int(row), "", stands[rows[int(row)]]) for row in own]
        if has_wish:
            evidence.append(Evidence("wish", -1, "", stands[-2]))
        bare = stands[-3] if has_wish else stands[-1]
        found.append(Measured(stands[0], stands[-1], bare, tuple(evidence)))
    return found


def profile_evidence(fixed: FixedCandidates, query: Queries, items: Sequence[int]) -> list[tuple[Evidence, ...]]:
    """The same without each field of the profile; what a template cannot do without cannot be taken away."""
    found: list[list[Evidence]] = [[] for _ in items]
    profiles = query.profiles or {}
    for name, values in profiles.items():
        if values[0] is None:
            continue
        try:
            ranking = fixed.rank(replace(query, profiles={**profiles, name: [None]}))
        except TemplateError:
            continue
        for own, item in zip(found, items, strict=True):
            own.append(Evidence("profile", -1, name, standings(ranking, item)[0]))
    return [tuple(own) for own in found]


def standings(ranking: Ranking, item: int) -> list[Standing]:
    """Where an item stands in each of n rankings that all hold it."""
    there = ranking.items >= 0
    places = (ranking.items == item).argmax(axis=1)
    own = np.take_along_axis(ranking.scores, places[:, None], axis=1).astype(np.float64)
    scores = ranking.scores.astype(np.float64)
    spread = np.std(scores, axis=1, keepdims=True, where=there)
    steps = np.clip((scores - own) / np.maximum(NOISE * spread, 1e-12), -50, 50)
    above = np.where(there, 1 / (1 + np.exp(-steps)), 0.0)
    depth = np.log2(0.5 + above.sum(axis=1))  # against itself it has a half
    counts = there.sum(axis=1)
    return [
        Standing(int(place) + 1, float(score), float(deep), int(count))
        for place, score, deep, count in zip(places, own[:, 0], depth, counts, strict=True)
    ]


def _newest(query: Queries) -> Int32Array:
    """The different items of a history, the newest first."""
    backwards = query.items[::-1]
    _, first = np.unique(backwards, return_index=True)
    return backwards[np.sort(first)][:NEWEST]


def _strongest(fixed: FixedCandidates, query: Queries, items: Sequence[int], history: Int32Array) -> list[Int32Array]:
    """Of each item, the history items that matter most to the first stage, in their order."""
    first = fixed.first_stage()
    ranking = first.rank(_variants(query, history))
    picked = []
    for item in items:
        if item not in first:
            picked.append(history[:CLOSELY])  # a later stage proposed it: the first has nothing to say
            continue
        depths = np.array([standing.depth for standing in standings(ranking, item)[1 : len(history) + 1]])
        picked.append(history[np.sort(np.argsort(-depths, kind="stable")[:CLOSELY])])
    return picked


def _variants(query: Queries, removed: Int32Array) -> Queries:
    """One query many times: as it is, without each of some items, without its wish, without history and wish.

    With a wish, there is one more before the last two: without the history.
    """
    count, wished = len(removed), bool(query.wishes[0])
    n, length = count + 3 + wished, len(query.items)
    keep = np.ones((n, length), dtype=np.bool_)
    keep[1 : count + 1] = query.items[None, :] != removed[:, None]
    keep[-3 if wished else -1] = False
    keep[-1] = False
    many = query.take(np.zeros(n, dtype=np.int64)).where(keep.ravel())
    if query.texts is None:
        return many
    return replace(many, texts=[*([query.texts[0]] * (n - 2)), None, None])
