"""One list out of two, so that the clicks on it compare them.

Source: Radlinski, Kurup and Joachims, How Does Clickthrough Data Reflect Retrieval Quality?, CIKM 2008, section 4.2
(team-draft interleaving).
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence

__all__ = ["team_draft"]


def team_draft(
    a: Sequence[str], b: Sequence[str], k: int, seed: int, names: tuple[str, str] = ("a", "b")
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Draw a list from two, as two captains choose teams.

    In each round both lists give their best item that is not in yet, in an order decided by a coin. Who clicks
    regardless of place clicks on both teams alike, up to chance; also where k is odd, since the coin decides who
    has the last item.

    Args:
        a: item ids, best first, no item twice.
        b: the other list.
        k: items wanted; fewer come back where the two hold fewer.
        seed: of the coins; the same lists and seed give the same list.
        names: of the two, for the sources.

    Returns:
        The items, and of each the name of the list it counts for; "" where one list had run out, and a click would
        say nothing: what is left of the other only fills up.
    """
    coin = random.Random(seed)
    lists = (tuple(dict.fromkeys(a)), tuple(dict.fromkeys(b)))
    taken: dict[str, str] = {}
    while len(taken) < k:
        picks = _round(lists, taken, last=len(taken) == k - 1)
        if picks is None:
            for item in (*lists[0], *lists[1]):
                if len(taken) < k:
                    taken.setdefault(item, "")
            break
        first = coin.getrandbits(1)
        for side, item in zip((first, 1 - first), picks[first], strict=False):
            taken[item] = names[side]
    return tuple(taken), tuple(taken.values())


def _round(
    lists: tuple[Sequence[str], Sequence[str]], taken: Mapping[str, str], last: bool
) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """What is picked where the first list goes first, and where the second does.

    None where one side would have nothing to give in either order: whether a round is one must not depend on the coin.
    """
    one, other = (list(_upto(items, taken, 2)) for items in lists)
    if not one or not other:
        return None
    if last:
        return (one[0],), (other[0],)
    after_one = next((item for item in other if item != one[0]), None)
    after_other = next((item for item in one if item != other[0]), None)
    if after_one is None or after_other is None:
        return None
    return (one[0], after_one), (other[0], after_other)


def _upto(items: Sequence[str], taken: Mapping[str, str], count: int) -> Iterator[str]:
    """The best items that are not taken, at most `count`."""
    return itertools.islice((item for item in items if item not in taken), count)
