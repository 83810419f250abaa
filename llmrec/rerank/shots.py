"""Examples for a prompt: what users of the log took next, beside what they did not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmrec.component import FitContext
from llmrec.data import with_profiles
from llmrec.data.splits import held_out
from llmrec.errors import ConfigError
from llmrec.types import Int32Array, Queries

__all__ = ["Example", "draw_examples", "histories_of"]

POPULAR = 100
"""What a user did not take is drawn from so many of the most popular items."""


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """What someone took next.

    Attributes:
        user: the user's row in the log; all but the last interaction is the history.
        shown: Int32[m], items among which they chose, in random order.
        taken: the place of the one they took.
    """

    user: int
    shown: Int32Array
    taken: int


def draw_examples(context: FitContext, count: int, beside: int) -> list[Example]:
    """Draw users of the training log with two interactions or more; the same ones for the same seed.

    What is held out for tuning and testing is not in that log, so no example tells what is asked about later. An
    item that was removed from the catalog is neither shown nor the answer; one that was disliked, by a weight of 0 or
    less, is no answer either, and makes nothing popular.

    Args:
        context: the log and the seed.
        count: so many examples.
        beside: so many popular items that the user never took stand beside the one taken.

    Raises:
        ConfigError: the log has fewer such users.
    """
    train, rng = context.train, np.random.default_rng((context.seed, 2))
    liked = np.ones(len(train), np.bool_) if train.weights is None else train.weights > 0
    counts = np.bincount(train.items[liked], minlength=train.catalog_size)
    popular = np.argsort(-counts, kind="stable")[:POPULAR]
    popular = popular[(counts[popular] > 0) & context.catalog.active[popular]]
    found: list[Example] = []
    several = np.flatnonzero(np.diff(train.offsets) >= 2)
    for user in rng.permutation(several[liked[train.offsets[several + 1] - 1]]):
        if len(found) == count:
            return found
        history = train.histories[user]
        others = rng.permutation(np.setdiff1d(popular, history))[:beside]
        if context.catalog.active[history[-1]] and len(others) == beside:
            place = int(rng.integers(beside + 1))
            found.append(Example(int(user), np.insert(others, place, history[-1]).astype(np.int32), place))
    if len(found) < count:
        raise ConfigError(
            f"{context.name} asks for {count} examples (shots), but only {len(found)} users of the training log have "
            f"two interactions, the last one with something they did not dislike, and {beside} popular items that they "
            "did not take; ask for fewer"
        )
    return found


def histories_of(context: FitContext, examples: Sequence[Example]) -> Queries:
    """The histories of the examples, one query each, with all that is known of their users."""
    train = context.train
    users = np.array([example.user for example in examples], dtype=np.int64)
    ends = np.zeros(len(train), dtype=np.bool_)
    ends[train.offsets[users + 1] - 1] = True
    cases = with_profiles(held_out(train, ends, ~ends), train, context.users)
    return cases.queries.take(np.searchsorted(cases.user_rows, users))
