"""From stored events to logs: what counts as done, and how it is joined with the log of a bundle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from llmrec.data import Catalog, Interactions, Vocab, items_hash
from llmrec.serve.live import units_per_second
from llmrec.serve.records import StoredEvent
from llmrec.types import BoolArray, Float32Array, Int32Array, Int64Array, select_rows

__all__ = ["LogShape", "joined", "nothing_done", "over", "positives"]


def nothing_done(n_items: int) -> Interactions:
    """A log without users, for a bundle that stores none; folded, with times."""
    none = np.empty(0, dtype=np.int64)
    return Interactions(n_items, Vocab([]), np.zeros(1, np.int64), none.astype(np.int32), none, None, "fold")


def positives(events: Iterable[StoredEvent], kinds: Mapping[str, float]) -> list[StoredEvent]:
    """Return the events by known users of a kind that weighs something: no impressions, no dismissals."""
    return [event for event in events if event.user_id is not None and kinds.get(event.kind, 0.0) > 0]


@dataclass(frozen=True, slots=True)
class LogShape:
    """What a log has to say of each interaction: what the bundle's says, and weights if kinds differ in theirs.

    Attributes:
        log: of the bundle.
        kinds: weight of each kind of event.
    """

    log: Interactions
    kinds: Mapping[str, float]

    @property
    def weighted(self) -> bool:
        """Whether there are weights."""
        return self.log.weights is not None or any(weight not in (0.0, 1.0) for weight in self.kinds.values())

    @property
    def per_second(self) -> int:
        """How many units of the log's times make a second."""
        return units_per_second(self.log)

    @property
    def kind_names(self) -> tuple[str, ...]:
        """Those of the log, then those of events; none where the log has none."""
        if self.log.kinds is None:
            return ()
        return tuple(dict.fromkeys((*self.log.kind_names, *(k for k, weight in self.kinds.items() if weight > 0))))


def joined(
    shape: LogShape, catalog: Catalog, events: Sequence[StoredEvent], users: Sequence[str], own: BoolArray
) -> Interactions:
    """Join what a bundle knows of some users with events.

    Args:
        shape: of the bundle's log.
        catalog: all items; its first rows are those of the bundle's.
        events: positive ones, in order of arrival; of other users, and on unknown items, they are left out.
        users: n ids, whose log it is, in this order.
        own: Bool[n], whose interactions in the bundle's log count.

    Returns:
        The log of these users, oldest first; of equal times, what the bundle knows comes first. Repeats are folded if
        the bundle's log is. It does not say over which catalog it was loaded; see `over`.
    """
    vocab = Vocab(users)
    rows = _stacked(_of_bundle(shape, vocab, own), _of_events(shape, vocab, catalog, events))
    order = _order(rows, shape.log.repeats == "fold")
    counts = np.bincount(rows.users[order], minlength=len(vocab))
    return Interactions(
        catalog_size=len(catalog),
        users=vocab,
        offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]),
        items=rows.items[order],
        times=None if shape.log.times is None else rows.times[order],
        weights=rows.weights[order] if shape.weighted else None,
        repeats=shape.log.repeats,
        kinds=None if shape.log.kinds is None else rows.kinds[order],
        kind_names=shape.kind_names,
        ratings=None if shape.log.ratings is None else rows.ratings[order],
    )


def over(log: Interactions, catalog: Catalog) -> Interactions:
    """Return the log saying that its rows are of this catalog."""
    return replace(log, items_hash=items_hash(catalog.items.ids))


@dataclass(frozen=True, slots=True)
class _Rows:
    """Interactions in any order; what is not known is 0, 1 or NaN."""

    users: Int64Array
    items: Int32Array
    times: Int64Array
    weights: Float32Array
    kinds: NDArray[np.int8]
    ratings: Float32Array


def _stacked(first: _Rows, second: _Rows) -> _Rows:
    names = ("users", "items", "times", "weights", "kinds", "ratings")
    return _Rows(**{name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in names})


def _of_bundle(shape: LogShape, users: Vocab, own: BoolArray) -> _Rows:
    log = shape.log
    known = log.users.get(users.ids).astype(np.int64)
    asked = np.flatnonzero((known >= 0) & own).astype(np.int64)
    offsets, places = select_rows(log.offsets, known[asked])
    n = len(places)
    return _Rows(
        users=np.repeat(asked, np.diff(offsets)),
        items=log.items[places],
        times=np.zeros(n, np.int64) if log.times is None else log.times[places],
        weights=np.ones(n, np.float32) if log.weights is None else log.weights[places],
        kinds=np.zeros(n, np.int8) if log.kinds is None else log.kinds[places],
        ratings=np.full(n, np.nan, np.float32) if log.ratings is None else log.ratings[places],
    )


def _of_events(shape: LogShape, users: Vocab, catalog: Catalog, events: Sequence[StoredEvent]) -> _Rows:
    user_rows = users.get([event.user_id or "" for event in events])
    items = catalog.items.get([event.item_id for event in events])
    kept = np.flatnonzero((user_rows >= 0) & (items >= 0))
    chosen = [events[place] for place in kept.tolist()]
    places = {name: place for place, name in enumerate(shape.kind_names)}
    return _Rows(
        users=user_rows[kept].astype(np.int64),
        items=items[kept],
        times=np.array([event.time for event in chosen], dtype=np.int64) * shape.per_second,
        weights=np.array([shape.kinds[event.kind] for event in chosen], dtype=np.float32),
        kinds=np.array([places.get(event.kind, 0) for event in chosen], dtype=np.int8),
        ratings=np.array([np.nan if e.rating is None else e.rating for e in chosen], dtype=np.float32),
    )


def _order(rows: _Rows, fold: bool) -> Int64Array:
    """Int64[m]: rows by user, then time, then as they come; of a user's rows with one item only the first if folded."""
    order = np.lexsort((rows.times, rows.users)).astype(np.int64)
    if not fold or not len(order):
        return order
    pairs = rows.users * (int(rows.items.max()) + 1) + rows.items
    _, first = np.unique(pairs[order], return_index=True)
    kept: Int64Array = order[np.sort(first)]
    return kept
