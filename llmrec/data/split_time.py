"""The global time split: two moments cut the whole log into train, validation and test."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

from llmrec.data.interactions import Interactions
from llmrec.data.leakage import check_leakage
from llmrec.data.splits import Split, held_out, kept, user_rows_of
from llmrec.errors import ConfigError, DataError
from llmrec.types import BoolArray, Int64Array

__all__ = ["split_by_time"]


def split_by_time(interactions: Interactions, validation_from: float = 0.8, test_from: float = 0.9) -> Split:
    """Train on what came before one moment, test on what came after another.

    Each cut is the time of the interaction at that share of the log in order of time (no interpolation); what bears
    that very time is after the cut. Histories end at the cut, not at the target: whatever a user did between the
    two is not known. A user's target is the first interaction after the cut (and, for the validation, before the
    second one), which in a folded log is always an item the history does not hold. Users without any interaction
    before the cut are not evaluated there, and later interactions after the first are in no part: nothing of them
    is learned.

    Source of the protocol: Meng et al., Exploring data splitting strategies for the evaluation of recommendation
    models, RecSys 2020 ("temporal global").

    Args:
        interactions: the whole log, with times.
        validation_from: where the validation part begins, as a share of all interactions.
        test_from: where the test part begins.

    Returns:
        The split; its test cases are called "time", its `cuts` are the two moments.

    Raises:
        ConfigError: the shares are not 0 < validation_from < test_from < 1.
        DataError: the log has no times, or times that only count each user's interactions, or a part would be
            empty.
    """
    if not 0.0 < validation_from < test_from < 1.0:
        raise ConfigError(
            f"validation_from and test_from are {validation_from} and {test_from}; they must be shares of the log: "
            "0 < validation_from < test_from < 1."
        )
    times = _clock_times(interactions)
    in_order = np.sort(times)
    first, second = (int(in_order[int(share * len(times))]) for share in (validation_from, test_from))
    train, known = times < first, times < second
    between = _first_of_users(interactions, known & ~train, train)
    after = _first_of_users(interactions, ~known, known)
    for name, part in (("training", train), ("validation", between), ("test", after)):
        if not part.any():
            raise DataError(
                f"cut at times {first} and {second}, the {name} part is empty: too many interactions have the same "
                "time, or no user spans a cut. Cut elsewhere (validation_from, test_from), or hold out the last "
                "interactions instead."
            )
    split = Split(
        name="time",
        train=kept(interactions, train),
        validation=held_out(interactions, between, train),
        known=kept(interactions, known),
        tests=MappingProxyType({"time": held_out(interactions, after, known)}),
        parameters=MappingProxyType({"validation_from": validation_from, "test_from": test_from}),
        cuts=(first, second),
        left_out=int(len(np.unique(user_rows_of(interactions)[~known])) - after.sum()),
    )
    check_leakage(split)
    return split


def _clock_times(interactions: Interactions) -> Int64Array:
    """Return the times, if they are times."""
    if interactions.times is None:
        raise DataError(
            "the log has no times, so it cannot be split by time; name its time column, or hold out the last "
            "interactions instead."
        )
    if len(interactions) == 0:
        raise DataError("the log has no interactions; there is nothing to split.")
    lengths = np.diff(interactions.offsets)
    places = np.arange(len(interactions)) - interactions.offsets[:-1][user_rows_of(interactions)]
    steps = interactions.times - places
    if (lengths > 1).sum() > 1 and (steps == steps[0]).all():
        raise DataError(
            f"the times of the log only count each user's interactions ({steps[0]}, {steps[0] + 1}, ...): they order "
            "a history, but not users among each other, so there is no moment to cut at; hold out the last "
            "interactions instead."
        )
    return interactions.times


def _first_of_users(interactions: Interactions, part: BoolArray, before: BoolArray) -> BoolArray:
    """Mark the first interaction in `part` of each user who has one in `before`, Bool[nnz]."""
    users = user_rows_of(interactions)
    has_history = np.bincount(users[before], minlength=interactions.n_users) > 0
    places = np.flatnonzero(part & has_history[users])
    _, first = np.unique(users[places], return_index=True)
    marked = np.zeros(len(interactions), dtype=np.bool_)
    marked[places[first]] = True
    return marked
