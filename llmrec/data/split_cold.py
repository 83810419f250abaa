"""Cold splits: items, or users, that no model has ever seen."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from llmrec.data.interactions import Interactions
from llmrec.data.leakage import check_leakage
from llmrec.data.split_last import enough, leave_last_out
from llmrec.data.splits import Split, ages, held_out, kept, user_rows_of
from llmrec.data.vocab import Vocab
from llmrec.errors import ConfigError, DataError
from llmrec.types import BoolArray

__all__ = ["hold_out_items", "hold_out_users", "is_cold"]


def is_cold(ids: Sequence[str], every: int = 10) -> BoolArray:
    """Draw one in `every` ids, always the same: those whose sha256 (hex digest as an integer) it divides, Bool[n].

    Raises:
        ConfigError: `every` is below 2.
    """
    if every < 2:
        raise ConfigError(f"every is {every}; it must be at least 2, so that something is left to learn from.")
    drawn = (int(hashlib.sha256(one.encode()).hexdigest(), 16) % every == 0 for one in ids)
    return np.fromiter(drawn, dtype=np.bool_, count=len(ids))


def hold_out_items(interactions: Interactions, item_ids: Vocab, min_interactions: int = 3, every: int = 10) -> Split:
    """Hold out one item in ten altogether: what can be said about items without any interaction.

    No interaction with a cold item is trained on or kept in a history. The test cases are those of `leave_last_out`
    whose target is cold; the validation cases those whose target is not. A cold item that a user took before the
    target is not known of, so it competes with the target. A history may be empty.

    Args:
        interactions: the whole log.
        item_ids: the ids of the catalog: an item is cold by its id, see `is_cold`.
        min_interactions: as for `leave_last_out`.
        every: one in so many items is cold.

    Returns:
        The split; the same test cases twice: "among all" items, and "among cold" items only (`Queries.allow`).

    Raises:
        ConfigError: `min_interactions` or `every` is out of range.
        DataError: no test case has a cold target, or the log is of another catalog.
    """
    if len(item_ids) != interactions.catalog_size:
        raise DataError(
            f"the interactions were loaded over a catalog of {interactions.catalog_size} items, the ids given are "
            f"{len(item_ids)}; give the ids of that catalog."
        )
    cold = is_cold(item_ids.ids, every)
    cut, age, is_warm = enough(interactions, min_interactions), ages(interactions), ~cold[interactions.items]
    train, known = is_warm & (~cut | (age >= 2)), is_warm & (~cut | (age >= 1))
    targets = cut & (age == 0) & ~is_warm
    if not targets.any():
        raise DataError(
            f"none of the {int(cold.sum())} cold items is the last of a user with {min_interactions} interactions; "
            "there is nothing to measure."
        )
    among_all = held_out(interactions, targets, known)
    among_cold = replace(among_all, queries=replace(among_all.queries, allow=cold))
    split = Split(
        name="cold-items",
        train=kept(interactions, train),
        validation=held_out(interactions, cut & (age == 1) & is_warm, train),
        known=kept(interactions, known),
        tests=MappingProxyType({"among all": among_all, "among cold": among_cold}),
        parameters=MappingProxyType({"min_interactions": min_interactions, "every": every}),
        cold=cold,
        left_out=int(((age == 0) & ~is_warm & ~cut).sum()),
    )
    check_leakage(split)
    return split


def hold_out_users(
    interactions: Interactions, lengths: Sequence[int] = (0, 1, 2), min_interactions: int = 3, every: int = 10
) -> Split:
    """Hold out one user in ten altogether: what can be said to users who have only just come.

    No interaction of a cold user is trained on. The case of a cold user is the last interaction, given so many right
    before it; earlier ones are not known of, so those items compete with the target. Every length is asked of the
    same users. The other users are held out nothing of: their last interaction is the validation target.

    Args:
        interactions: the whole log.
        lengths: how many interactions before the target are given, in the order of the test cases.
        min_interactions: cold users with fewer, or with fewer than the longest of `lengths` and the target, are not
            evaluated; others with fewer stay whole in training. At least 3.
        every: one in so many users is cold, by the user id, see `is_cold`.

    Returns:
        The split; a set of test cases per length: "history 0", "history 1", ...

    Raises:
        ConfigError: `lengths`, `min_interactions` or `every` is out of range.
        DataError: no cold user, or no other one, has enough interactions.
    """
    if not lengths or min(lengths) < 0 or len(set(lengths)) < len(lengths):
        raise ConfigError(f"lengths of histories must be distinct whole numbers of at least 0, got {list(lengths)}.")
    cold = is_cold(interactions.users.ids, every)
    users, age = user_rows_of(interactions), ages(interactions)
    needed = max(min_interactions, max(lengths) + 1)
    asked = cold[users] & (np.diff(interactions.offsets) >= needed)[users]
    if not asked.any():
        raise DataError(
            f"none of the {int(cold.sum())} cold users has {needed} interactions; there is nothing to measure."
        )
    warm = kept(interactions, ~cold[users])
    # the warm users' last interactions tune: nothing of theirs is held out for the test
    inner = leave_last_out(warm, min_interactions)
    targets = asked & (age == 0)
    split = Split(
        name="cold-users",
        train=inner.known,
        validation=inner.test,
        known=warm,
        tests=MappingProxyType(
            {f"history {n}": held_out(interactions, targets, asked & (age >= 1) & (age <= n)) for n in lengths}
        ),
        parameters=MappingProxyType({"min_interactions": min_interactions, "every": every}),
        cold=cold,
        left_out=int((cold[users] & (age == 0)).sum() - targets.sum()),
    )
    check_leakage(split)
    return split
