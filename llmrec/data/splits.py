"""What a split is: what may be learned from, and who is asked what; the tools every split is made with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from llmrec.data.interactions import Interactions
from llmrec.data.users import Users
from llmrec.types import BoolArray, Int32Array, Int64Array, Queries

__all__ = ["Holdout", "Split", "ages", "held_out", "kept", "user_rows_of", "with_profiles"]


@dataclass(frozen=True, slots=True)
class Holdout:
    """What a recommender is asked and what it should answer; n cases.

    Attributes:
        user_rows: Int64[n], rows into `Interactions.users`.
        queries: n histories, each without its target; `at` is the target's time where there are times.
        targets: Int32[n], the catalog row held out.
    """

    user_rows: Int64Array
    queries: Queries
    targets: Int32Array

    def __post_init__(self) -> None:
        if not len(self.user_rows) == len(self.queries) == len(self.targets):
            raise ValueError(
                f"user_rows, queries and targets must have one length: "
                f"{len(self.user_rows)}, {len(self.queries)}, {len(self.targets)}"
            )

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def fingerprint(self) -> str:
        """Sha256 (hex) over users, what they are asked, and what they should answer."""
        digest = hashlib.sha256(self.queries.fingerprint.encode())
        for array in (self.user_rows, self.targets):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Split:
    """What may be learned from, and the held-out cases; all over the same users and catalog.

    Attributes:
        name: how it was made: one of `SPLITS`.
        parameters: with what settings; JSON values.
        train: the interactions models are fitted on.
        validation: the cases to tune on; `train` does not hold their targets.
        known: everything a fit may see: `train` and what the validation adds. The histories asked with at the test
            are made of it, but for cold users, of whom it knows nothing.
        tests: the test cases by name; more than one set where the same split is asked in several ways.
        cuts: of a split by time: the first time of the validation part and of the test part; otherwise None.
        cold: of a cold split: Bool[n_items] or Bool[n_users], who is held out altogether; otherwise None.
        left_out: how many users the test would ask but for a lack of interactions, or of any before the cut.
    """

    name: str
    train: Interactions
    validation: Holdout
    known: Interactions
    tests: Mapping[str, Holdout]
    parameters: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    cuts: tuple[int, int] | None = None
    cold: BoolArray | None = None
    left_out: int = 0

    @property
    def test(self) -> Holdout:
        """The first of `tests`."""
        return next(iter(self.tests.values()))


def user_rows_of(interactions: Interactions) -> Int64Array:
    """Return whose each interaction is, Int64[nnz]."""
    return np.repeat(np.arange(interactions.n_users, dtype=np.int64), np.diff(interactions.offsets))


def ages(interactions: Interactions) -> Int64Array:
    """Return how many interactions of the same user came after each, Int64[nnz]: the newest has age 0."""
    return interactions.offsets[1:][user_rows_of(interactions)] - 1 - np.arange(len(interactions), dtype=np.int64)


def kept(interactions: Interactions, marked: BoolArray) -> Interactions:
    """Return the log with the marked interactions only, Bool[nnz]; users and catalog stay as they are."""
    places = np.flatnonzero(marked).astype(np.int64)
    counts = np.bincount(user_rows_of(interactions)[places], minlength=interactions.n_users)
    return interactions.keep(places, np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]))


def held_out(interactions: Interactions, targets: BoolArray, history: BoolArray) -> Holdout:
    """Make cases of a log.

    Args:
        interactions: the whole log.
        targets: Bool[nnz], the interactions held out; at most one a user, whose case it is.
        history: Bool[nnz], the interactions that histories may hold.
    """
    places = np.flatnonzero(targets)
    users = user_rows_of(interactions)[places]
    queries = kept(interactions, history).queries(users)
    at = None if interactions.times is None else interactions.times[places]
    return Holdout(users, replace(queries, at=at), interactions.items[places])


def with_profiles(cases: Holdout, interactions: Interactions, users: Users | None) -> Holdout:
    """Return cases that bring what else is known of their users.

    Args:
        cases: of users of the log.
        interactions: the log.
        users: their profiles; None: the cases bring none.
    """
    profiles = None if users is None else users.profiles(interactions.users.decode(cases.user_rows)) or None
    return replace(cases, queries=replace(cases.queries, profiles=profiles))
