"""Small data for tests: quick to make, the same for the same seed, with the awkward cases in it."""

from __future__ import annotations

import numpy as np

from llmrec.data import Catalog, Dataset, Interactions, Users
from llmrec.types import Item

__all__ = ["new_items", "tiny_catalog", "tiny_dataset", "tiny_interactions", "tiny_users"]

_WORDS = ("blue", "red", "night", "river", "Misérables,", "[SEP]", "star", "zoo", "007", "garden")
_GENRES = ("Drama", "Comedy", "Thriller", "Drama Comedy", None)


def tiny_catalog(n_items: int = 12) -> Catalog:
    """Return a catalog with fields "title" (text), "year" (integer, some null) and "genres" (text, some null).

    Ids are "i0", "i1", ...; titles are distinct and some are unusual.
    """
    rows = range(n_items)
    return Catalog.from_table(
        {
            "item_id": [f"i{row}" for row in rows],
            "title": [f"{_WORDS[row % 10]} {_WORDS[(row * 7 + 3) % 10]} {row}" for row in rows],
            "year": [None if row % 5 == 4 else 1980 + row for row in rows],
            "genres": [_GENRES[row % 5] for row in rows],
        }
    )


def new_items(n_items: int = 2) -> list[Item]:
    """Return items that fit `tiny_catalog` and are not in it; the last one has a title only."""
    full = [Item(f"new{k}", {"title": f"brand new {k}", "year": 2024, "genres": "Drama"}) for k in range(n_items - 1)]
    return [*full, Item(f"new{n_items - 1}", {"title": "only a title"})]


def tiny_interactions(
    seed: int = 0, catalog: Catalog | None = None, n_users: int = 20, timed: bool = True
) -> Interactions:
    """Return a log over a catalog (`tiny_catalog()` by default).

    User "u0" has 2 interactions, too few to be evaluated; the others have 3 to 8, or as many as there are items.
    Times tie now and then.
    """
    catalog = tiny_catalog() if catalog is None else catalog
    rng = np.random.default_rng(seed)
    users: list[str] = []
    items: list[str] = []
    times: list[int] = []
    for user in range(n_users):
        length = 2 if user == 0 else int(rng.integers(3, 9))
        rows = rng.permutation(len(catalog))[:length]
        users += [f"u{user}"] * len(rows)
        items += catalog.items.decode(rows)
        times += np.sort(rng.integers(0, 2 * length, size=len(rows))).tolist()
    table = {"user_id": users, "item_id": items, "timestamp": times}
    interactions = Interactions.from_table(table, catalog)
    return interactions if timed else _untimed(interactions)


def tiny_users(n_users: int = 20) -> Users:
    """Return profiles with "age" (integer, some null) and "occupation" of users "u1", "u2", ...; "u0" has none."""
    known = range(1, n_users)
    return Users.from_table(
        {
            "user_id": [f"u{user}" for user in known],
            "age": [None if user % 4 == 0 else 20 + user for user in known],
            "occupation": [("writer", "student", "doctor")[user % 3] for user in known],
        }
    )


def tiny_dataset(seed: int = 0, n_items: int = 12, n_users: int = 20) -> Dataset:
    """Return the tiny catalog, log and profiles together."""
    catalog = tiny_catalog(n_items)
    return Dataset("tiny", catalog, tiny_interactions(seed, catalog, n_users), tiny_users(n_users))


def _untimed(interactions: Interactions) -> Interactions:
    from dataclasses import replace

    return replace(interactions, times=None)
