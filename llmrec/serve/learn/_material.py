"""What a refit learns from: the bundle's log and catalog with all that the store has on top of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from llmrec.config import Config
from llmrec.data import Catalog, Interactions, Users
from llmrec.errors import ConfigError
from llmrec.pipeline import Recommender
from llmrec.serve.config import LearnConfig
from llmrec.serve.learn._profiles import put_over, without
from llmrec.serve.learn.increment import fitted_seq
from llmrec.serve.learn.logs import LogShape, joined, over, positives
from llmrec.serve.live import with_stored_items
from llmrec.serve.records import StoredEvent
from llmrec.types import BoolArray

if TYPE_CHECKING:
    from llmrec.serve.store import Store

__all__ = ["LOG_HOLDOUT", "Material", "gathered", "pipeline_of", "told_of"]

LOG_HOLDOUT = "log_holdout"
"""What a refit calls the holdout that the log it began with was fitted with."""

PAGE = 5_000
"""Events or profiles read at once."""


class _Numbered(Protocol):
    @property
    def seq(self) -> int:
        """Its number in the store."""


N = TypeVar("N", bound=_Numbered)


@dataclass(frozen=True, slots=True)
class Material:
    """What a refit learns from.

    Attributes:
        old: the bundle's recommender over the catalog as it is now.
        catalog: as it is now.
        shape: what the log says of each interaction.
        users: ids of the log: of the bundle but for who was erased since, then of the events.
        own: Bool[n], whose history in the bundle counts.
        profiles: of users, without those who were erased, with what was put since; or None: the bundle has none, so
            that nothing in it reads any.
        events: positive ones since the bundle, in order of arrival.
        until: the newest event that was read, positive or not.
        item_seq: the newest change of an item that was read.
        held_out: what the log lacks, see `Refitted`.
        items_left_out: stored items that do not fit.
        profiles_left_out: stored profiles that do not fit as a whole.
    """

    old: Recommender
    catalog: Catalog
    shape: LogShape
    users: Sequence[str]
    own: BoolArray
    profiles: Users | None
    events: Sequence[StoredEvent]
    until: int
    item_seq: int
    held_out: str
    items_left_out: int
    profiles_left_out: int

    def log(self, until: int | None = None) -> Interactions:
        """Return the whole log, or what it was when this event was the newest."""
        events = [event for event in self.events if until is None or event.seq <= until]
        return over(joined(self.shape, self.catalog, events, self.users, self.own), self.catalog)


def pipeline_of(recommender: Recommender) -> Config:
    """Return the configuration that a recommender was fitted with.

    Raises:
        ConfigError: it does not say, or its configuration does not fit this llmrec.
    """
    values = (recommender.about or {}).get("config")
    if not isinstance(values, dict):
        raise ConfigError(
            "the bundle does not say with which configuration it was fitted, so it cannot be fitted again so; fit it "
            "anew with llmrec fit, which writes that down"
        )
    return Config.from_dict(values, source="configuration of the bundle")


def told_of(material: Material) -> list[str]:
    """What the material lacks, in sentences; nothing where it is whole."""
    found = []
    if material.held_out != "none":
        found.append(
            f"the bundle was fitted with --holdout {material.held_out}: its log lacks what was held out, and so will "
            "the refit; llmrec fit without --holdout learns from all of it"
        )
    if material.items_left_out:
        found.append(f"{material.items_left_out:,} stored items do not fit the bundle's catalog and are left out")
    if material.profiles_left_out:
        found.append(f"{material.profiles_left_out:,} stored profiles have fields that do not fit; these are left out")
    return found


def gathered(old: Recommender, store: Store, config: LearnConfig) -> Material:
    """Read everything from the store.

    Raises:
        ConfigError: the bundle stores no histories.
        Unavailable: the store does not answer.
    """
    if old.histories is None:
        raise ConfigError(
            "the bundle stores no histories, so what it was fitted on is not known; fit it anew with llmrec fit"
        )
    until, fitted = store.last_seq(), fitted_seq(old)
    current = with_stored_items(old, store)
    old, about = current.recommender, old.about or {}
    events = positives((e for e in _pages(store.events_after, fitted) if e.seq <= until), config.kinds)
    done = dict.fromkeys(event.user_id for event in events if event.user_id is not None)
    log = old.histories
    assert log is not None  # the same as above
    known = log.users.ids
    gone = _erased(store, {*known, *(() if old.users is None else old.users.users.ids)}, fitted)
    users = [
        *(user for user in known if user not in gone or user in done),
        *(user for user in done if user not in log.users),
    ]
    profiles, unfit = put_over(without(old.users, gone), _profiles(store))
    return Material(
        old=old,
        catalog=old.catalog,
        shape=LogShape(log, config.kinds),
        users=users,
        own=np.array([user not in gone for user in users], dtype=np.bool_),
        profiles=profiles,
        events=events,
        until=until,
        item_seq=current.item_seq,
        held_out=str(about.get(LOG_HOLDOUT, about.get("holdout", "none"))),
        items_left_out=current.left_out,
        profiles_left_out=unfit,
    )


def _pages(read: Callable[[int, int], Sequence[N]], after: int) -> Iterator[N]:
    while some := read(after, PAGE):
        yield from some
        after = some[-1].seq


def _erased(store: Store, users: set[str], fitted: int) -> frozenset[str]:
    """Users who were erased after the bundle was fitted; of who was erased before, it knows only what came later."""
    erased = ((user, store.erased_at_seq(user)) for user in users)
    return frozenset(user for user, at in erased if at is not None and at >= fitted)


def _profiles(store: Store) -> Iterator[tuple[str, Mapping[str, Any]]]:
    after = ""
    while some := store.profiles_after(after, PAGE):
        yield from some
        after = some[-1][0]
