"""The gate: a refit is not let through where it is surely worse than what is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from llmrec.data import Holdout, Interactions
from llmrec.evaluate import PairedResult, ProtocolCard, Report, compare_pairs, evaluate
from llmrec.pipeline import Recommender
from llmrec.serve.learn._material import Material
from llmrec.types import Queries

__all__ = ["LEAST", "METRIC", "Gate", "Newest", "judged", "newest"]

METRIC = "NDCG@10"

SHARE = 0.2
"""The newest part of the events, which neither has seen."""

LEAST = 30
"""Cases; from fewer, an interval says nothing."""

MOST = 10_000
"""Cases; a sample of so many is sure enough."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What the gate found.

    Attributes:
        passed: whether the refit may take the place of the old one.
        reason: why, in a sentence.
        n: users whose next item was asked for.
        old: mean NDCG@10 of what is there; None: not measured.
        new: of the refit, fitted without what is asked for; None: not measured.
        difference: new - old over the same users; None: not measured.
    """

    passed: bool
    reason: str
    n: int
    old: float | None = None
    new: float | None = None
    difference: PairedResult | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"metric": METRIC, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Newest:
    """What is asked at the gate.

    Attributes:
        train: the log up to the cut.
        cases: of each user with a history before the cut, the first item behind it that is not in that history.
    """

    train: Interactions
    cases: Holdout


def newest(material: Material) -> Newest | None:
    """Cut the events where the newest fifth of them begins, by arrival; None where that leaves too few cases.

    The bundle was fitted before all of these events, and the refit that is judged is fitted before the cut, so that
    neither has seen what is asked. Histories end at the cut for both.
    """
    if len(material.events) < LEAST:
        return None
    cut = material.events[int((1 - SHARE) * len(material.events))].seq - 1
    train = material.log(cut)
    found = _targets(material, train, cut)
    if len(found) < LEAST:
        return None
    rows = np.array(sorted(found), dtype=np.int64)
    if len(rows) > MOST:
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:MOST])
    targets = np.array([found[row][0] for row in rows.tolist()], dtype=np.int32)
    queries: Queries = replace(material.old, users=material.profiles).history_queries(train, rows)
    if train.times is not None:
        queries = replace(queries, at=np.array([found[row][1] for row in rows.tolist()], dtype=np.int64))
    return Newest(train, Holdout(rows, queries, targets))


def _targets(material: Material, train: Interactions, cut: int) -> dict[int, tuple[int, int]]:
    """User row to item row and time, for users with a history; of items that can be recommended only."""
    held = sorted((event for event in material.events if event.seq > cut), key=lambda event: (event.time, event.seq))
    users = train.users.get([event.user_id or "" for event in held]).tolist()
    items = material.catalog.items.get([event.item_id for event in held]).tolist()
    histories, found = train.histories, dict[int, tuple[int, int]]()
    for event, user, item in zip(held, users, items, strict=True):
        if user < 0 or user in found or item < 0 or not material.catalog.active[item]:
            continue
        history = histories[user]
        if len(history) and item not in history:
            found[user] = (item, event.time * material.shape.per_second)
    return found


def judged(material: Material, asked: Newest, refitted: Recommender, progress: Callable[[str], None]) -> Gate:
    """Ask what is there and the refit for the same items, over the same catalog and histories.

    Returns:
        Passed, unless the whole 95% interval of the paired difference of NDCG@10 is below zero.
    """
    progress(f"asking both for the next item of {len(asked.cases):,} users")
    old, new = (_report(recommender, material, asked) for recommender in (material.old, refitted))
    difference = compare_pairs(new, old, METRIC)
    passed = difference.high >= 0
    verdict = "not surely worse" if passed else "surely worse"
    means = [float(report.metrics[METRIC].mean) for report in (old, new)]
    reason = f"the refit is {verdict} by {METRIC}: {means[1]:.4f} after {means[0]:.4f}, difference {difference}"
    return Gate(passed, reason, len(asked.cases), means[0], means[1], difference)


def _report(recommender: Recommender, material: Material, asked: Newest) -> Report:
    card = ProtocolCard(
        name="newest events",
        split=f"the newest {SHARE:.0%} of the events since the bundle, by arrival; first new item of each user",
        ties="equal scores go by a hash of the item id",
        n_users=len(asked.cases),
        n_items=len(material.catalog),
        n_interactions=len(asked.train) + len(asked.cases),
        data_hash=f"{asked.train.fingerprint}+{len(asked.cases)}",
        seen_excluded=False,
        items_hash=asked.train.items_hash,
    )
    return evaluate(recommender, asked.cases, k=(10,), n_items=len(material.catalog), protocol=card)
