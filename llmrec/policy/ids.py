"""The item ids a policy's settings name."""

from __future__ import annotations

from collections.abc import Sequence

from llmrec.data import Catalog
from llmrec.errors import ConfigError, UnknownIdError
from llmrec.types import Int32Array

__all__ = ["known_ids"]


def known_ids(catalog: Catalog, ids: Sequence[str], where: str) -> Int32Array:
    """Return the row of each id, Int32[len(ids)]; that of a deleted item too.

    Raises:
        ConfigError: the catalog does not have an id; the message names it, and the nearest one there is.
    """
    try:
        return catalog.items.rows(ids)
    except UnknownIdError as error:
        raise ConfigError(f"{where}: {error}") from error
