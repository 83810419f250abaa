"""What a refit learns from: the bundle's log and catalog with all that the store has on top of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from llmrec.config import Config
from llmrec.data import Catalog, Interactions, Users, Vocab
from llmrec.errors import ConfigError
from llmrec.pipeline import Recommender
from llmrec.serve.config import LearnConfig
from llmrec.serve.learn._needs import HasStore
from llmrec.serve.learn.increment import fitted_seq
from llmrec.serve.learn.logs import LogShape, joined, over, positives
from llmrec.serve.records import StoredEvent, StoredItem
from llmrec.types import BoolArray, Item

__all__ = ["Material", "gathered", "pipeline_of"]

PAGE = 5_000
"""Events or items read at once."""


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
        profiles: of users, without those who were erased; or None.
        events: positive ones since the bundle, in order of arrival.
        until: the newest event that was read, positive or not.
        item_seq: the newest change of an item that was read.
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


def gathered(old: Recommender, store: HasStore, config: LearnConfig) -> Material:
    """Read everything from the store.

    Raises:
        ConfigError: the bundle stores no histories.
        DataError: an item of the store does not fit the bundle's catalog.
    """
    if old.histories is None:
        raise ConfigError(
            "the bundle stores no histories, so what it was fitted on is not known; fit it anew with llmrec fit"
        )
    until, fitted = store.last_seq(), fitted_seq(old)
    stored = list(_pages(store.items_after, 0))
    old = _with_stored(old, stored)
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
    return Material(
        old=old,
        catalog=old.catalog,
        shape=LogShape(log, config.kinds),
        users=users,
        own=np.array([user not in gone for user in users], dtype=np.bool_),
        profiles=_remaining(old.users, gone),
        events=events,
        until=until,
        item_seq=max((item.seq for item in stored), default=0),
    )


def _pages(read: Callable[[int, int], Sequence[N]], after: int) -> Iterator[N]:
    while some := read(after, PAGE):
        yield from some
        after = some[-1].seq


def _erased(store: HasStore, users: set[str], fitted: int) -> frozenset[str]:
    """Users who were erased after the bundle was fitted; of who was erased before, it knows only what came later."""
    erased = ((user, store.erased_at_seq(user)) for user in users)
    return frozenset(user for user, at in erased if at is not None and at >= fitted)


def _remaining(users: Users | None, gone: frozenset[str]) -> Users | None:
    if users is None or not gone:
        return users
    rows = [row for row, user in enumerate(users.users) if user not in gone]
    table: Any = users.table.take(rows)
    return Users(table, Vocab(users.users.decode(rows)))


def _with_stored(old: Recommender, stored: Sequence[StoredItem]) -> Recommender:
    """The recommender with the store's items: as it is served now, but for what was learned.

    Fields that its catalog does not have are left out: another alias has them.
    """
    columns = frozenset(old.catalog.columns)
    items = {one.item_id: Item(one.item_id, {k: v for k, v in one.fields.items() if k in columns}) for one in stored}
    rows = old.catalog.items.get([item.item_id for item in stored])
    active = [bool(row >= 0 and old.catalog.active[row]) for row in rows.tolist()]
    pairs = list(zip(stored, rows.tolist(), active, strict=True))
    fresh = [items[one.item_id] for one, row, there in pairs if row < 0 or (one.state == "active" and not there)]
    changed = [items[one.item_id] for one, _, there in pairs if there and one.state == "active"]
    changed = [item for item in changed if item.fields]
    removed = [one.item_id for one, row, there in pairs if one.state == "removed" and (there or row < 0)]
    old = old.add_items(fresh) if fresh else old
    old = old.change_items(changed) if changed else old
    return old.remove_items(removed) if removed else old
