"""Leave the last out: every user's last interaction is the test, the one before the validation."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

from llmrec.data.interactions import Interactions
from llmrec.data.leakage import check_leakage
from llmrec.data.splits import Split, ages, held_out, kept, user_rows_of
from llmrec.errors import ConfigError, DataError
from llmrec.types import BoolArray

__all__ = ["enough", "leave_last_out", "without_last"]


def leave_last_out(interactions: Interactions, min_interactions: int = 3) -> Split:
    """Hold out every user's last interaction for the test and the one before for validation.

    Protocol LOO: the order is that of `Interactions` (time, ties by place in the file). The validation
    history is the training history, the test history training and validation. Users with fewer than
    `min_interactions` stay whole in training and are not evaluated. All parts share one user vocab.

    Args:
        interactions: the whole log.
        min_interactions: users with fewer are not evaluated; at least 3, so that a training history remains.

    Returns:
        The split; its test cases are called "last".

    Raises:
        ConfigError: `min_interactions` is below 3.
        DataError: no user has enough interactions.
        LeakageError: never, unless the log is inconsistent; see `check_leakage`.
    """
    cut, age = enough(interactions, min_interactions), ages(interactions)
    train, known = ~cut | (age >= 2), ~cut | (age >= 1)
    split = Split(
        name="last",
        train=kept(interactions, train),
        validation=held_out(interactions, cut & (age == 1), train),
        known=kept(interactions, known),
        tests=MappingProxyType({"last": held_out(interactions, cut & (age == 0), known)}),
        parameters=MappingProxyType({"min_interactions": min_interactions}),
        left_out=int((np.diff(interactions.offsets) > 0).sum() - (cut & (age == 0)).sum()),
    )
    check_leakage(split)
    return split


def without_last(interactions: Interactions, min_interactions: int = 3) -> Interactions:
    """Return the log without every evaluated user's last interaction: all a fit may see before the test.

    Raises:
        ConfigError: `min_interactions` is below 3.
        DataError: no user has enough interactions.
    """
    return kept(interactions, ~enough(interactions, min_interactions) | (ages(interactions) >= 1))


def enough(interactions: Interactions, min_interactions: int) -> BoolArray:
    """Mark the interactions of users who have enough of them, Bool[nnz].

    Raises:
        ConfigError: `min_interactions` is below 3.
        DataError: no user has enough interactions.
    """
    if min_interactions < 3:
        raise ConfigError(
            f"min_interactions is {min_interactions}; it must be at least 3: one to train on, one for "
            "validation, one for the test."
        )
    users: BoolArray = np.diff(interactions.offsets) >= min_interactions
    if not users.any():
        raise DataError(
            f"none of the {interactions.n_users} users has {min_interactions} interactions; nothing can be held out."
        )
    return users[user_rows_of(interactions)]
