"""What is known of a user: the bundle's history, and what the store was told since."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmrec.serve.config import LearnConfig
from llmrec.serve.live.snapshot import Snapshot
from llmrec.serve.records import StoredEvent

if TYPE_CHECKING:
    from llmrec.data import Interactions
    from llmrec.serve.store import Store

__all__ = ["Pasts", "UserPast", "units_per_second", "user_query"]

NOT_RATED = float("nan")

_Basis = tuple[str, int, int]
"""What of a snapshot a past depends on; not the snapshot itself, which would be kept from being let go."""


@dataclass(frozen=True, slots=True)
class UserPast:
    """A user's history, oldest first, with as much about each part as the bundle's log has.

    Attributes:
        known: whether anything is known of the user at all.
        item_ids: items of the history; all are in the snapshot's catalog.
        times: of each, in the unit of the bundle's log; None: the log has no times.
        kinds: of each, by name, None for no kind; None: the log has no kinds.
        profile: fields of the user; None: nothing is known.
        dismissed: items that must not come back, whether or not the catalog has them.
        ratings: of each, NaN: not rated; None: the log has no ratings.
        weights: of each; None: the log has no weights, and nothing weighs more than the rest.
    """

    known: bool
    item_ids: list[str]
    times: list[int] | None
    kinds: list[str | None] | None
    profile: Mapping[str, Any] | None
    dismissed: frozenset[str]
    ratings: list[float] | None = None
    weights: list[float] | None = None


@dataclass(frozen=True, slots=True)
class _Did:
    """One part of a history."""

    item_id: str
    time: int
    kind: str | None
    rating: float
    weight: float


def user_query(snapshot: Snapshot, store: Store, config: LearnConfig, user_id: str) -> UserPast:
    """Return what is known of a user.

    That is the bundle's history and the store's events after those that the bundle was fitted with. Kinds of no weight
    (dismissals, mere impressions) are no part of it. Where the log folds repeats, the oldest of an item stays, as a fit
    would have it. Of a user who was erased, the bundle's history and profile count no more.

    Args:
        snapshot: the recommender.
        store: the events.
        config: weights by kind, and how many events are looked at.
        user_id: whose.

    Raises:
        Unavailable: the store does not answer.
    """
    log = snapshot.recommender.histories
    erased = store.erased_at_seq(user_id)
    row = -1 if log is None else int(log.users.get([user_id])[0])
    # a bundle that was fitted after the erasure knows only what came later
    fitted = row >= 0 and (erased is None or erased < snapshot.event_seq)
    done = list(_in_log(snapshot, log, row)) if fitted and log is not None else []
    events = store.user_events(user_id, after=max(snapshot.event_seq, erased or 0), limit=config.recent)
    done += _since(snapshot, events, config)
    profile = _profile(snapshot, user_id, store.profile(user_id), is_erased=erased is not None)
    known = fitted or bool(events) or profile is not None
    return _as_the_log(log, _in_order(log, done), known, profile, store.dismissed(user_id))


def units_per_second(log: Interactions | None) -> int:
    """How many units of a log's times make a second: 1, or 1000 and so on where they count milliseconds or finer.

    Times since the epoch tell by their size: 1e11 seconds are the year 5138, 1e11 milliseconds are in 1973.
    """
    if log is None or log.times is None or len(log.times) == 0:
        return 1
    latest = int(log.times[-1000:].max())
    return next((unit for unit in (1, 1_000, 1_000_000) if latest < 100_000_000_000 * unit), 1_000_000_000)


class Pasts:
    """Pasts of users who were asked for lately; safe for threads."""

    def __init__(
        self,
        store: Store,
        config: LearnConfig,
        *,
        clock: Callable[[], float],
        most: int = 4096,
        stale_s: float = 5.0,
    ) -> None:
        """Make an empty one.

        Args:
            store: the events.
            config: see `user_query`.
            clock: seconds.
            most: users that are kept at hand.
            stale_s: after so many seconds a past is read again, for another process may have stored more.
        """
        self._store, self._config, self._clock = store, config, clock
        self._most, self._stale_s = most, stale_s
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], tuple[_Basis, float, UserPast]] = OrderedDict()
        self._forgotten = 0

    def get(self, snapshot: Snapshot, user_id: str) -> UserPast:
        """Return what is known of a user; see `user_query`."""
        found = self.kept(snapshot, user_id)
        if found is not None:
            return found
        forgotten, now = self._forgotten, self._clock()
        past = user_query(snapshot, self._store, self._config, user_id)
        with self._lock:
            if forgotten == self._forgotten:  # else it may have been read before what it was forgotten for
                self._kept[snapshot.alias, user_id] = _basis(snapshot), now, past
                self._kept.move_to_end((snapshot.alias, user_id))
                while len(self._kept) > self._most:
                    self._kept.popitem(last=False)
        return past

    def kept(self, snapshot: Snapshot, user_id: str) -> UserPast | None:
        """Return what is at hand, without asking the store; None: nothing."""
        key = snapshot.alias, user_id
        with self._lock:
            found = self._kept.get(key)
            if found is None or found[0] != _basis(snapshot) or self._clock() - found[1] > self._stale_s:
                return None
            self._kept.move_to_end(key)
            return found[2]

    def forget(self, aliases: Sequence[str], user_id: str | None = None) -> None:
        """Read a user anew next time; None: everybody."""
        with self._lock:
            self._forgotten += 1
            if user_id is None:
                self._kept.clear()
                return
            for alias in aliases:
                self._kept.pop((alias, user_id), None)


def _basis(snapshot: Snapshot) -> _Basis:
    return snapshot.bundle, snapshot.item_seq, snapshot.event_seq


def _in_log(snapshot: Snapshot, log: Interactions, row: int) -> Iterator[_Did]:
    start, end = int(log.offsets[row]), int(log.offsets[row + 1])
    ids = snapshot.recommender.catalog.items.decode(log.items[start:end])
    times = [0] * len(ids) if log.times is None else log.times[start:end].tolist()
    kinds = [-1] * len(ids) if log.kinds is None else log.kinds[start:end].tolist()
    ratings = [NOT_RATED] * len(ids) if log.ratings is None else log.ratings[start:end].tolist()
    weights = [1.0] * len(ids) if log.weights is None else log.weights[start:end].tolist()
    for item_id, moment, kind, rating, weight in zip(ids, times, kinds, ratings, weights, strict=True):
        yield _Did(item_id, moment, log.kind_names[kind] if kind >= 0 else None, rating, weight)


def _since(snapshot: Snapshot, events: Sequence[StoredEvent], config: LearnConfig) -> list[_Did]:
    """Events of some weight, with items that this catalog has."""
    recommender = snapshot.recommender
    unit = units_per_second(recommender.histories)
    counted = [event for event in events if config.kinds.get(event.kind, 0.0) > 0]
    rows = recommender.catalog.items.get([event.item_id for event in counted])
    return [
        _Did(
            event.item_id,
            event.time * unit,
            event.kind,
            NOT_RATED if event.rating is None else event.rating,
            config.kinds[event.kind],
        )
        for event, row in zip(counted, rows.tolist(), strict=True)
        if row >= 0
    ]


def _in_order(log: Interactions | None, done: list[_Did]) -> list[_Did]:
    """Oldest first, ties as they came; repeats folded where the log folds them."""
    if log is not None and log.times is not None:
        done = sorted(done, key=lambda did: did.time)
    if log is not None and log.repeats == "keep":
        return done
    first: dict[str, _Did] = {}
    for did in done:
        first.setdefault(did.item_id, did)
    return list(first.values())


def _profile(
    snapshot: Snapshot, user_id: str, put: Mapping[str, Any] | None, *, is_erased: bool
) -> Mapping[str, Any] | None:
    """The bundle's profile, with the fields that were put since."""
    people = snapshot.recommender.users
    if people is None or is_erased or int(people.users.get([user_id])[0]) < 0:
        return put
    stored = {name: values[0] for name, values in people.profiles([user_id]).items()}
    return {**stored, **(put or {})}


def _as_the_log(
    log: Interactions | None,
    done: Sequence[_Did],
    known: bool,
    profile: Mapping[str, Any] | None,
    dismissed: frozenset[str],
) -> UserPast:
    """The parts, with those of their attributes that the log has; weights also where some weigh more than others."""
    weighted = (log is not None and log.weights is not None) or any(did.weight != 1.0 for did in done)
    return UserPast(
        known=known,
        item_ids=[did.item_id for did in done],
        times=None if log is None or log.times is None else [did.time for did in done],
        kinds=None if log is None or log.kinds is None else [did.kind for did in done],
        profile=profile,
        dismissed=dismissed,
        ratings=None if log is None or log.ratings is None else [did.rating for did in done],
        weights=[did.weight for did in done] if weighted else None,
    )
