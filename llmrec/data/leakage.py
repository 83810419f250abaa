"""The check that a split keeps the future, and whatever else is held out, out of training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from llmrec.data.interactions import Interactions
from llmrec.data.splits import Holdout, Split, user_rows_of
from llmrec.errors import LeakageError
from llmrec.types import BoolArray, Int32Array, Int64Array, Queries, select_rows

__all__ = ["check_leakage"]


def check_leakage(split: Split) -> None:
    """Make sure no held-out interaction can be seen where it must not be.

    Detects, in any split: a held-out (user, item) pair in training or in its own history; a test target in the
    validation part or among what a fit may see; a training or history time after the target's time (of that user);
    a user evaluated twice. Where the log keeps repeated pairs, a pair may legitimately occur before, so only users
    and times are checked. Of a split by time: a time at or after a cut in training, in what a fit may see or in a
    history; a target on the wrong side. Of cold items: a cold item in training, in what a fit may see or in any
    history; a target that is not cold (or, for the validation, is); a wrong set of items to rank. Of cold users:
    an interaction of theirs in training or in what a fit may see; a test of anyone else.

    Raises:
        LeakageError: says which part, how many, and the first user.
    """
    parts = _parts(split)
    for name, part in parts.items():
        _check_users(split, part, name)
        _check_past(split, part, name)
    if split.train.repeats == "fold":
        for name, part in list(parts.items())[1:]:
            _check_pairs(split, part, name)
    if split.cuts is not None:
        _check_cuts(split, split.cuts, parts)
    if split.name == "cold-items" and split.cold is not None:
        _check_cold_items(split, split.cold, parts)
    if split.name == "cold-users" and split.cold is not None:
        _check_cold_users(split, split.cold, parts)


def _parts(split: Split) -> dict[str, Holdout]:
    """Return all held-out parts by the name they have in a message, the validation first."""
    several = len(split.tests) > 1
    tests = {f"{name!r} test" if several else "test": part for name, part in split.tests.items()}
    return {"validation": split.validation, **tests}


def _check_users(split: Split, part: Holdout, name: str) -> None:
    n_users = split.train.n_users
    outside = (part.user_rows < 0) | (part.user_rows >= n_users)
    if outside.any():
        raise LeakageError(f"the {name} part has {outside.sum()} users outside the training log's {n_users} rows.")
    counts = np.bincount(part.user_rows, minlength=n_users)
    _complain(split, part, counts[part.user_rows] > 1, f"users are evaluated more than once in the {name} part")


def _check_past(split: Split, part: Holdout, name: str) -> None:
    """Neither training nor the history may hold the target, or anything later."""
    seen = split.train.queries(part.user_rows)
    if split.train.repeats == "fold":
        _complain(split, part, _holds(seen, part.targets), f"the {name} target is in training")
        _complain(split, part, _holds(part.queries, part.targets), f"the {name} target is in its own history")
    _complain(split, part, _later(seen, part.queries.at), f"training holds times after the {name} target")
    _complain(split, part, _later(part.queries, part.queries.at), f"the {name} history runs past its target")


def _check_pairs(split: Split, test: Holdout, name: str) -> None:
    """The test target must be neither in the validation part nor among what a fit may see."""
    validation = split.validation
    place = np.full(split.train.n_users, -1, dtype=np.int64)
    place[validation.user_rows] = np.arange(len(validation))
    both = np.flatnonzero(place[test.user_rows] >= 0)
    places = place[test.user_rows[both]]
    offsets, picked = select_rows(validation.queries.offsets, places)
    history = Queries(offsets, validation.queries.items[picked])
    leaks = np.zeros(len(test), dtype=np.bool_)
    leaks[both] = _holds(history, test.targets[both]) | (validation.targets[places] == test.targets[both])
    _complain(split, test, leaks, f"the {name} target is in the validation part")
    known = _holds(split.known.queries(test.user_rows), test.targets)
    _complain(split, test, known, f"the {name} target is among what a fit may see")


def _check_cuts(split: Split, cuts: tuple[int, int], parts: Mapping[str, Holdout]) -> None:
    first, second = cuts
    for log, name, cut in ((split.train, "training", first), (split.known, "what a fit may see", second)):
        if log.times is not None:
            _complain_of_log(log, log.times >= cut, f"{name} holds times at or after the cut at {cut}")
    for name, part in parts.items():
        start, end = (first, second) if part is split.validation else (second, None)
        if part.queries.times is not None:
            late = _any_by_row(part.queries, part.queries.times >= start)
            _complain(split, part, late, f"the {name} history runs past the cut at {start}")
        if part.queries.at is not None:
            outside = (part.queries.at < start) | (False if end is None else part.queries.at >= end)
            _complain(split, part, outside, f"the {name} target lies on the wrong side of a cut")


def _check_cold_items(split: Split, cold: BoolArray, parts: Mapping[str, Holdout]) -> None:
    for log, name in ((split.train, "training"), (split.known, "what a fit may see")):
        _complain_of_log(log, cold[log.items], f"{name} holds cold items")
    for name, part in parts.items():
        held = _any_by_row(part.queries, cold[part.queries.items])
        _complain(split, part, held, f"the {name} history holds cold items")
        expected = part is not split.validation
        wrong = cold[part.targets] != expected
        _complain(split, part, wrong, f"the {name} target is {'not ' if expected else ''}cold")
        allow = part.queries.allow
        if allow is not None and not np.array_equal(allow, cold):
            raise LeakageError(f"LEAKAGE: the {name} part ranks items other than the cold ones; split again.")


def _check_cold_users(split: Split, cold: BoolArray, parts: Mapping[str, Holdout]) -> None:
    for log, name in ((split.train, "training"), (split.known, "what a fit may see")):
        _complain_of_log(log, cold[user_rows_of(log)], f"{name} holds interactions of cold users")
    for name, part in parts.items():
        expected = part is not split.validation
        wrong = cold[part.user_rows] != expected
        _complain(split, part, wrong, f"the {name} user is {'not ' if expected else ''}cold")


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


def _complain(split: Split, part: Holdout, leaks: BoolArray, problem: str) -> None:
    if leaks.any():
        first = split.train.users[int(part.user_rows[np.argmax(leaks)])]
        raise LeakageError(
            f"LEAKAGE: {problem} for {leaks.sum()} of {len(part)} users, first user {first!r}. "
            f"No figure from this split means anything; split again, with split_by({split.name!r}, ...)."
        )


def _complain_of_log(log: Interactions, leaks: BoolArray, problem: str) -> None:
    if leaks.any():
        first = log.users[int(user_rows_of(log)[np.argmax(leaks)])]
        raise LeakageError(
            f"LEAKAGE: {problem}: {leaks.sum()} of {len(log)} interactions, first user {first!r}. "
            "No figure from this split means anything; split again."
        )
