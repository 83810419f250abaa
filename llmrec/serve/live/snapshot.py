"""A recommender at one moment, and how one comes from a bundle's folder."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmrec.errors import BundleError, ConfigError

if TYPE_CHECKING:
    from llmrec.pipeline import Recommender
    from llmrec.stage import StageTrace

__all__ = ["Snapshot", "bundle_version", "load_bundle", "warm_up"]

LOG = logging.getLogger(__name__)

VERSION_DIGITS = 16

WARM_ITEMS = 3
"""Items of the history that a recommender is tried with before anybody asks it."""


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A recommender as it is between two changes; nothing in it ever changes.

    Attributes:
        alias: the name that clients know.
        bundle: the bundle's version, see `bundle_version`.
        path: the bundle's folder.
        version: grows with every swap and every change, over all aliases.
        recommender: with the store's items applied, and with what was learned since.
        item_seq: the store's item changes that are in it.
        event_seq: the store's events that the bundle was fitted with.
        loaded: when the bundle was loaded, seconds since the epoch.
    """

    alias: str
    bundle: str
    path: str
    version: int
    recommender: Recommender
    item_seq: int
    event_seq: int
    loaded: float


def bundle_version(path: Path) -> str:
    """Return what tells bundles apart: the first 16 hex digits of the sha256 of the manifest, which lists all files.

    Raises:
        BundleError: there is no manifest, or it cannot be read.
    """
    try:
        manifest = (path / "manifest.json").read_bytes()
    except OSError as error:
        raise BundleError(f"{path} is not a bundle that can be read: {error}") from error
    return hashlib.sha256(manifest).hexdigest()[:VERSION_DIGITS]


def load_bundle(path: Path) -> tuple[str, Recommender]:
    """Load a bundle and its version; again where another one took its place meanwhile.

    Raises:
        BundleError: it is missing, damaged or too new, or is replaced again and again.
        ConfigError: it uses a component that is not installed here.
    """
    from llmrec.opening import load

    for _ in range(3):
        before = bundle_version(path)
        recommender = load(path)
        if bundle_version(path) == before:
            return before, recommender
    raise BundleError(f"{path} is replaced faster than it can be loaded; try again")


def warm_up(recommender: Recommender) -> None:
    """Answer made-up requests, so that whatever is made at first use is there before anybody waits for it.

    The first stage must answer. A later stage that does not (a model that is called over the network is down) is only
    logged: the engine leaves it out until it is well.

    Raises:
        Exception: whatever the first stage or the policies raise.
    """
    import numpy as np

    catalog = recommender.catalog
    ids = catalog.items.decode(np.flatnonzero(catalog.active)[:WARM_ITEMS])
    for people in (recommender.histories, recommender.users):
        if people is not None:
            people.users.get([""])
    asked = recommender.prepare(recommender.queries(histories=[ids]))
    traces: list[StageTrace] = []
    for stage in recommender.stages:
        try:
            kept = traces[-1].survivors if traces else None
            traces.append(stage.rank(asked, stage.needed_columns(asked, kept), catalog.tie_order))
        except Exception as error:
            if not traces:
                raise
            LOG.warning("stage %s does not answer yet: %s", stage.name, type(error).__name__)
            break
    recommender.finish(asked, traces, 1)
    try:
        recommender.search(["a"], 1)
    except ConfigError:
        LOG.debug("nothing in this recommender searches by text")
