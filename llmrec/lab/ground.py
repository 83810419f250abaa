"""What templates are judged on: validation cases of a data set, the same for every template, and never its test."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from llmrec.component import FitContext, find_component, silent
from llmrec.data import Catalog, Holdout, Interactions, Users, leave_last_out, with_profiles
from llmrec.data.splits import Split
from llmrec.errors import ConfigError, DataError, MissingExtraError
from llmrec.evaluate import ProtocolCard, Report, bootstrap_interval, leave_last_out_card, rank_values, sample_cases
from llmrec.retrieve.base import Retriever
from llmrec.types import Float32Array, Int32Array, Queries, Ranking

__all__ = [
    "CUT",
    "FirstStage",
    "Float64Array",
    "Ground",
    "Shortlists",
    "first_stage",
    "halves",
    "ranks_of",
    "reordered",
    "report_of",
    "shortlists",
]

CUT = 10
"""Length of the lists that metrics look at."""

NOTE = "validation cases: the second-last interaction of each user is foretold, the last is never asked"

Float64Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """A data set split for judging.

    Attributes:
        catalog: all items.
        interactions: the whole log; only its split is used.
        users: what else is known of users, or None.
        split: leave last out.
        cases: every validation case, with profiles; what is in a history may not come back.
    """

    catalog: Catalog
    interactions: Interactions
    users: Users | None
    split: Split
    cases: Holdout

    @classmethod
    def of(cls, catalog: Catalog, interactions: Interactions, users: Users | None = None) -> Ground:
        """Split a data set.

        Raises:
            DataError: no user has three interactions.
        """
        split = leave_last_out(interactions)
        return cls(catalog, interactions, users, split, _asked(split.validation, interactions, users))

    @property
    def data_hash(self) -> str:
        """Sha256 (hex) of items, interactions and profiles."""
        parts = [self.catalog.fingerprint, self.interactions.fingerprint]
        parts += [] if self.users is None else [self.users.fingerprint]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()

    def sample(self, users: int | None, seed: int) -> Holdout:
        """Cases of so many users, drawn at random; all if None."""
        return self.cases if users is None else sample_cases(self.cases, users, seed)

    def card(self, cases: Holdout, note: str = "") -> ProtocolCard:
        """How these cases were made."""
        notes = "; ".join(filter(None, [NOTE, note]))
        return leave_last_out_card(self.interactions, cases, note=notes)

    def earlier(self) -> Ground:
        """The same without what is judged: split once more, so that models can be tuned on targets that come before.

        Its cases foretell the third-last interaction of each user, by histories that end before it.

        Raises:
            DataError: no user has five interactions.
        """
        split = leave_last_out(self.split.train)
        return replace(
            self, split=replace(split, train=split.known), cases=_asked(split.test, self.split.train, self.users)
        )


def _asked(cases: Holdout, interactions: Interactions, users: Users | None) -> Holdout:
    known = with_profiles(cases, interactions, users)
    return replace(known, queries=replace(known.queries, exclude=known.queries.histories))


def halves(cases: Holdout, seed: int) -> tuple[Holdout, Holdout]:
    """Split cases at random: one half to choose on, one to report on.

    Raises:
        DataError: there are fewer than two.
    """
    if len(cases) < 2:
        raise DataError(f"{len(cases)} cases cannot be halved: one half is chosen on, the other reported on")
    order = np.random.default_rng([seed, 2]).permutation(len(cases))
    middle = len(cases) // 2
    first, second = (np.sort(rows).astype(np.int64) for rows in (order[:middle], order[middle:]))
    return _take(cases, first), _take(cases, second)


def _take(cases: Holdout, rows: np.ndarray[Any, np.dtype[np.int64]]) -> Holdout:
    return Holdout(cases.user_rows[rows], cases.queries.take(rows), cases.targets[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Shortlists:
    """Candidates of a first stage; n cases.

    Attributes:
        cases: the cases.
        items: Int32[n, depth], catalog rows, best first, -1 pads; the target is among them only if it was found.
        first: what found them.
    """

    cases: Holdout
    items: Int32Array
    first: str

    @property
    def ceiling(self) -> float:
        """Share of the targets that are candidates at all: no order of these has a larger Recall."""
        return float((self.items == self.cases.targets[:, None]).any(axis=1).mean())

    @property
    def fingerprint(self) -> str:
        """Sha256 (hex) of cases and candidates."""
        return hashlib.sha256(self.cases.fingerprint.encode() + np.ascontiguousarray(self.items).tobytes()).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class FirstStage:
    """A retriever as a stage that proposes.

    Attributes:
        retriever: fitted.
    """

    retriever: Retriever

    def recommend(self, queries: Queries, k: int) -> Ranking:
        """The k best items per query, none of its history."""
        return self.retriever.retrieve(replace(queries, exclude=queries.histories), k)


def first_stage(
    ground: Ground, name: str, seed: int, work: Path, progress: Callable[[str], None] = silent
) -> FirstStage:
    """Fit a retriever, with its default settings, on what may be seen before the cases.

    Raises:
        ConfigError: no retriever has this name.
        MissingExtraError: a package it needs is not installed.
    """
    from importlib.util import find_spec

    component = find_component(name)
    if component.role != "retriever":
        raise ConfigError(f"{name!r} is a {component.role}; candidates come from a retriever, such as item_knn or ease")
    if missing := next((package for package in component.requires if find_spec(package) is None), None):
        raise MissingExtraError(missing, component.extra)
    progress(f"fitting {name} for candidates")
    context = FitContext(name, ground.catalog, ground.split.train, users=ground.users, work=work, seed=seed)
    return FirstStage(component.fit(context, component.config()))


def shortlists(first: FirstStage, cases: Holdout, depth: int, name: str) -> Shortlists:
    """Ask a first stage for its best."""
    items = first.recommend(cases.queries, depth).items
    return Shortlists(cases, np.asarray(items, dtype=np.int32), name)


def ranks_of(lists: Int32Array, targets: Int32Array) -> Float64Array:
    """Float64[n]: 1-based places of the targets in lists, Int32[n, m]; infinite where they are missing."""
    hits = lists == targets[:, None]
    return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1.0, np.inf)


def reordered(items: Int32Array, scores: Float32Array, tie_order: np.ndarray[Any, np.dtype[np.uint64]]) -> Int32Array:
    """Int32[n, k]: candidates by score, best first; those without one behind all others, pads last."""
    from llmrec.retrieve.best import order_by_score

    finite = np.where(np.isfinite(scores), scores, np.finfo(np.float32).min)
    return np.take_along_axis(items, order_by_score(finite, items, tie_order), axis=1)


def report_of(card: ProtocolCard, cases: Holdout, ranks: Float64Array) -> Report:
    """Metrics of ranks with 95% intervals over users, as every other evaluation has them."""
    values = rank_values(ranks, (CUT,))
    return Report(
        card=card,
        metrics={name: bootstrap_interval(per_user) for name, per_user in values.items()},
        values=values,
        totals={},
        exposure={},
        user_rows=np.asarray(cases.user_rows, dtype=np.int64),
        n_short=0,
    )
