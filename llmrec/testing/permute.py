"""Logs in which there is nothing to learn about a user: on them no method may beat popularity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from llmrec.data import Interactions
from llmrec.types import BoolArray, Int32Array

__all__ = ["shuffle_items", "shuffle_last"]

_ROUNDS = 1_000


def shuffle_last(interactions: Interactions, seed: int, min_interactions: int = 3) -> Interactions:
    """Give every user's last item to another user, at random.

    Everything else stays, so what is learned from it does too; but what users took last says nothing about them.

    Args:
        interactions: a folded log.
        seed: the same seed gives the same log.
        min_interactions: users with fewer keep theirs.

    Returns:
        A log where nobody has an item twice.

    Raises:
        ValueError: the items cannot be dealt out so that nobody gets one they have.
    """
    rng = np.random.default_rng(seed)
    users = np.flatnonzero(np.diff(interactions.offsets) >= min_interactions)
    places = interactions.offsets[users + 1] - 1
    earlier = [set(interactions.histories[int(user)][:-1].tolist()) for user in users]
    dealt = interactions.items[places][rng.permutation(len(users))]
    for _ in range(_ROUNDS):
        wrong = np.flatnonzero([item in has for item, has in zip(dealt.tolist(), earlier, strict=True)])
        if len(wrong) == 0:
            items = interactions.items.copy()
            items[places] = dealt
            return replace(interactions, items=items)
        for case in wrong.tolist():
            _swap(dealt, case, int(rng.integers(len(users))), earlier)
    raise ValueError("the last items cannot be dealt out so that nobody gets an item they have")


def _swap(dealt: Int32Array, one: int, other: int, earlier: list[set[int]]) -> None:
    """Swap what two users got, unless the other would get an item they have."""
    if int(dealt[one]) not in earlier[other]:
        dealt[[one, other]] = dealt[[other, one]]


def shuffle_items(interactions: Interactions, seed: int) -> Interactions:
    """Deal all items of the log out to users anew: every user's every interaction is with a random one.

    How often an item is taken stays as it was, but for what follows: where a user is dealt an item a second time,
    that interaction is left out, as in any folded log.

    Args:
        interactions: a folded log.
        seed: the same seed gives the same log.
    """
    items = interactions.items[np.random.default_rng(seed).permutation(len(interactions))]
    lengths = np.diff(interactions.offsets)
    pairs = np.repeat(np.arange(len(lengths)), lengths) * interactions.catalog_size + items
    first: BoolArray = np.zeros(len(items), dtype=np.bool_)
    first[np.unique(pairs, return_index=True)[1]] = True
    counts = np.bincount(np.repeat(np.arange(len(lengths)), lengths)[first], minlength=len(lengths))
    shuffled = replace(interactions, items=items)
    return shuffled.keep(
        np.flatnonzero(first).astype(np.int64), np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    )
