"""Splits that keep the future out of training, and a check that they did."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from llmrec.data.interactions import Interactions
from llmrec.errors import ConfigError, DataError, LeakageError
from llmrec.types import BoolArray, Int32Array, Int64Array, Queries, select_rows

__all__ = ["Holdout", "Split", "check_leakage", "leave_last_out", "without_last"]


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


@dataclass(frozen=True, slots=True)
class Split:
    """A training log and two held-out parts over the same users and catalog."""

    train: Interactions
    validation: Holdout
    test: Holdout


def leave_last_out(interactions: Interactions, min_interactions: int = 3) -> Split:
    """Hold out every user's last interaction for the test and the one before for validation.

    Protocol LOO: the order is that of `Interactions` (time, ties by place in the file). The validation
    history is the training history, the test history training and validation. Users with fewer than
    `min_interactions` stay whole in training and are not evaluated. All parts share one user vocab.

    Args:
        interactions: the whole log.
        min_interactions: users with fewer are not evaluated; at least 3, so that a training history remains.

    Raises:
        ConfigError: `min_interactions` is below 3.
        DataError: no user has enough interactions.
        LeakageError: never, unless the log is inconsistent; see `check_leakage`.
    """
    cut = _enough(interactions, min_interactions)
    split = Split(
        train=_shortened(interactions, cut, 2),
        validation=_held_out(interactions, cut, 2),
        test=_held_out(interactions, cut, 1),
    )
    check_leakage(split)
    return split


def without_last(interactions: Interactions, min_interactions: int = 3) -> Interactions:
    """Return the log without every evaluated user's last interaction: all a fit may see before the test.

    Raises:
        ConfigError: `min_interactions` is below 3.
        DataError: no user has enough interactions.
    """
    return _shortened(interactions, _enough(interactions, min_interactions), 1)


def check_leakage(split: Split) -> None:
    """Make sure no held-out interaction can be seen where it must not be.

    Detects: a held-out (user, item) pair in training or in its own history; a test target in the validation
    part; a training or history time after the target's time (of that user); a user evaluated twice. Where the
    log keeps repeated pairs, a pair may legitimately occur before, so only users and times are checked.

    Raises:
        LeakageError: says which part, how many cases, and the first user.
    """
    folded = split.train.repeats == "fold"
    for name, part in (("validation", split.validation), ("test", split.test)):
        _check_users(split, part, name)
        seen = split.train.queries(part.user_rows)
        if folded:
            _complain(split, part, _holds(seen, part.targets), f"the {name} target is in training")
            _complain(split, part, _holds(part.queries, part.targets), f"the {name} target is in its own history")
        _complain(split, part, _later(seen, part.queries.at), f"training holds times after the {name} target")
        _complain(split, part, _later(part.queries, part.queries.at), f"the {name} history runs past its target")
    if folded:
        _check_parts(split)


def _enough(interactions: Interactions, min_interactions: int) -> BoolArray:
    """Return Bool[n_users]: who has enough interactions."""
    if min_interactions < 3:
        raise ConfigError(
            f"min_interactions is {min_interactions}; it must be at least 3: one to train on, one for "
            "validation, one for the test."
        )
    enough: BoolArray = np.diff(interactions.offsets) >= min_interactions
    if not enough.any():
        raise DataError(
            f"none of the {interactions.n_users} users has {min_interactions} interactions; nothing can be held out."
        )
    return enough


def _shortened(interactions: Interactions, cut: BoolArray, last: int) -> Interactions:
    """Drop the `last` newest interactions of the users in `cut`."""
    lengths = np.diff(interactions.offsets) - last * cut
    kept = _heads(interactions.offsets, lengths)
    return replace(
        interactions,
        offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
        items=interactions.items[kept],
        times=None if interactions.times is None else interactions.times[kept],
        weights=None if interactions.weights is None else interactions.weights[kept],
    )


def _held_out(interactions: Interactions, cut: BoolArray, last: int) -> Holdout:
    """Hold out the `last`-newest interaction of the users in `cut`; the history is all before it."""
    user_rows = np.flatnonzero(cut).astype(np.int64)
    places = interactions.offsets[user_rows + 1] - last
    queries = _shortened(interactions, cut, last).queries(user_rows)
    at = None if interactions.times is None else interactions.times[places]
    return Holdout(user_rows, replace(queries, at=at), interactions.items[places])


def _heads(offsets: Int64Array, lengths: Int64Array) -> Int64Array:
    """Return the places of the first `lengths` values of every row of a CSR layout."""
    ends = np.cumsum(lengths)
    places: Int64Array = np.arange(ends[-1] if len(ends) else 0) + np.repeat(offsets[:-1] - (ends - lengths), lengths)
    return places


def _holds(queries: Queries, targets: Int32Array) -> BoolArray:
    """Return Bool[n]: whose history holds the target."""
    return _any_by_row(queries, queries.items == np.repeat(targets, np.diff(queries.offsets)))


def _later(queries: Queries, at: Int64Array | None) -> BoolArray:
    """Return Bool[n]: whose history has a time after `at`."""
    if at is None or queries.times is None:
        return np.zeros(len(queries), dtype=np.bool_)
    return _any_by_row(queries, queries.times > np.repeat(at, np.diff(queries.offsets)))


def _any_by_row(queries: Queries, marks: BoolArray) -> BoolArray:
    rows = np.repeat(np.arange(len(queries)), np.diff(queries.offsets))
    found: BoolArray = np.bincount(rows[marks], minlength=len(queries)) > 0
    return found


def _check_users(split: Split, part: Holdout, name: str) -> None:
    n_users = split.train.n_users
    outside = (part.user_rows < 0) | (part.user_rows >= n_users)
    if outside.any():
        raise LeakageError(f"the {name} part has {outside.sum()} users outside the training log's {n_users} rows.")
    counts = np.bincount(part.user_rows, minlength=n_users)
    _complain(split, part, counts[part.user_rows] > 1, f"users are evaluated more than once in the {name} part")


def _check_parts(split: Split) -> None:
    """The test target must be neither in the validation history nor the validation target."""
    validation, test = split.validation, split.test
    place = np.full(split.train.n_users, -1, dtype=np.int64)
    place[validation.user_rows] = np.arange(len(validation))
    both = np.flatnonzero(place[test.user_rows] >= 0)
    places = place[test.user_rows[both]]
    offsets, picked = select_rows(validation.queries.offsets, places)
    history = Queries(offsets, validation.queries.items[picked])
    leaks = np.zeros(len(test), dtype=np.bool_)
    leaks[both] = _holds(history, test.targets[both]) | (validation.targets[places] == test.targets[both])
    _complain(split, test, leaks, "the test target is in the validation part")


def _complain(split: Split, part: Holdout, leaks: BoolArray, problem: str) -> None:
    if leaks.any():
        first = split.train.users[int(part.user_rows[np.argmax(leaks)])]
        raise LeakageError(
            f"LEAKAGE: {problem} for {leaks.sum()} of {len(part)} users, first user {first!r}. "
            "No figure from this split means anything; split again with leave_last_out."
        )
