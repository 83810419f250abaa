"""The splits by name, as a configuration or a command names them."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from llmrec.data.interactions import Interactions
from llmrec.data.split_cold import hold_out_items, hold_out_users
from llmrec.data.split_last import leave_last_out
from llmrec.data.split_time import split_by_time
from llmrec.data.splits import Split
from llmrec.data.vocab import Vocab
from llmrec.errors import ConfigError

__all__ = ["SPLITS", "split_by", "split_parameters"]

SPLITS = ("last", "time", "cold-items", "cold-users")
"""Leave last out; global time; items nobody has ever taken; users nobody has ever seen."""


_SHARES = MappingProxyType({"validation_from": 0.8, "test_from": 0.9})
_EVERY = 10


def split_parameters(name: str, min_interactions: int = 3) -> dict[str, Any]:
    """Return the settings of a split that decide what a fit may see, JSON values; arguments as for `split_by`.

    Raises:
        ConfigError: no split has this name.
    """
    if name not in SPLITS:
        raise ConfigError(f"no split is called {name!r}; known: {', '.join(SPLITS)}")
    if name == "time":
        return dict(_SHARES)
    bar = {"min_interactions": min_interactions}
    return bar if name == "last" else {**bar, "every": _EVERY}


def split_by(name: str, interactions: Interactions, item_ids: Vocab, min_interactions: int = 3) -> Split:
    """Split a log, with the settings of the benchmark protocols.

    Args:
        name: one of `SPLITS`.
        interactions: the whole log.
        item_ids: the ids of its catalog (`catalog.items`).
        min_interactions: users with fewer are not evaluated; of no effect on a split by time.

    Raises:
        ConfigError: no split has this name, or `min_interactions` is below 3.
        DataError: the log does not allow it.
    """
    settings = split_parameters(name, min_interactions)
    if name == "last":
        return leave_last_out(interactions, **settings)
    if name == "time":
        return split_by_time(interactions, **settings)
    if name == "cold-items":
        return hold_out_items(interactions, item_ids, **settings)
    return hold_out_users(interactions, **settings)
