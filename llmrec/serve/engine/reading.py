"""From what is asked, in ids, to rows of the catalog; and rows of several requests to one batch of queries."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from llmrec.serve.asked import Asked
from llmrec.serve.live import Snapshot, UserPast, units_per_second
from llmrec.serve.problems import NotFound, Unprocessable
from llmrec.types import BoolArray, Csr, Float32Array, Int32Array, Int64Array, Queries

if TYPE_CHECKING:
    from llmrec.data import Catalog

__all__ = ["QueryRow", "read_request", "together"]

LETTERS_PER_TOKEN = 4

MOST_KINDS = 127
"""Places that fit into an int8."""


@dataclass(frozen=True, slots=True, eq=False)
class QueryRow:
    """One query, in rows of the catalog.

    Attributes:
        items: Int32[m], the history, oldest first; of "similar", the one item.
        exclude: Int32[e], what must not come back.
        times: Int64[m], or None.
        weights: Float32[m], or None.
        kinds: Int8[m], places in `kind_names`, -1 for none; or None.
        kind_names: names of the kinds.
        ratings: Float32[m], or None.
        at: when it is asked, in the unit of the log's times; or None.
        profile: fields of the user, or None.
        text: a wish, or what to search for; or None.
    """

    items: Int32Array
    exclude: Int32Array
    times: Int64Array | None = None
    weights: Float32Array | None = None
    kinds: NDArray[np.int8] | None = None
    kind_names: tuple[str, ...] = ()
    ratings: Float32Array | None = None
    at: int | None = None
    profile: Mapping[str, Any] | None = None
    text: str | None = None

    @property
    def shape(self) -> tuple[Any, ...]:
        """What queries must have in common to be one batch: a part that one has and another lacks changes both."""
        parts = (self.times, self.weights, self.kinds, self.ratings, self.at, self.text)
        fields = None if self.profile is None else tuple(sorted(self.profile))
        return (*(part is None for part in parts), self.kind_names, fields)

    @property
    def tokens(self) -> int:
        """About how many tokens a model reads of its text."""
        return 2 + len(self.text or "") // LETTERS_PER_TOKEN


def read_request(
    snapshot: Snapshot, asked: Asked, past: UserPast | None, clock: Callable[[], float] = time.time
) -> QueryRow:
    """Turn the ids of a request into rows.

    Args:
        snapshot: the recommender that will answer.
        asked: the request.
        past: what is known of its user; None: it names none.
        clock: seconds since the epoch.

    Raises:
        NotFound: the item whose like is wanted is not in the catalog.
        Unprocessable: another item is not, or there is no text to search for; names their places.
    """
    catalog = snapshot.recommender.catalog
    exclude = _excluded(catalog, asked, past)
    if asked.kind == "similar":
        row = int(catalog.items.get([asked.item_id or ""])[0])
        if row < 0:
            raise NotFound("item_id: there is no such item in the catalog")
        return QueryRow(np.array([row], dtype=np.int32), exclude)
    if asked.kind == "search":
        if not asked.text or not asked.text.strip():
            raise Unprocessable("text: say in words what to search for")
        return QueryRow(np.empty(0, dtype=np.int32), exclude, text=asked.text)
    if asked.wish is not None and not asked.wish.strip():
        raise Unprocessable("wish: it is empty; leave it out")
    at = _moment(snapshot, asked, clock)
    profile = asked.profile if asked.profile is not None else (past.profile if past is not None else None)
    common: dict[str, Any] = {"exclude": exclude, "at": at, "profile": profile or None, "text": asked.wish}
    if asked.history is not None:
        return QueryRow(_known(catalog, asked.history, "history"), **common)
    if past is None:
        return QueryRow(np.empty(0, dtype=np.int32), **common)
    return QueryRow(catalog.items.rows(past.item_ids), **_aligned(snapshot, past), **common)


def together(rows: Sequence[QueryRow], allow: BoolArray | None = None) -> Queries:
    """Put queries of one shape into one batch.

    Args:
        rows: n queries, at least one, alike in `QueryRow.shape`.
        allow: Bool[n_items], what may come back, for all of them; None: everything.
    """
    first = rows[0]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum([len(row.items) for row in rows], dtype=np.int64)])

    def joined(name: str) -> Any:
        return None if getattr(first, name) is None else np.concatenate([getattr(row, name) for row in rows])

    fields = () if first.profile is None else tuple(sorted(first.profile))
    profiles = {name: [(row.profile or {})[name] for row in rows] for name in fields}
    return Queries(
        offsets=offsets,
        items=joined("items"),
        times=joined("times"),
        weights=joined("weights"),
        kinds=joined("kinds"),
        kind_names=first.kind_names,
        ratings=joined("ratings"),
        at=None if first.at is None else np.array([row.at for row in rows], dtype=np.int64),
        profiles=profiles or None,
        texts=None if first.text is None else [row.text for row in rows],
        exclude=Csr.from_lists([row.exclude.tolist() for row in rows]),
        allow=allow,
    )


def _aligned(snapshot: Snapshot, past: UserPast) -> dict[str, Any]:
    """What is known of each part of a user's history, as arrays."""
    log = snapshot.recommender.histories
    kinds, names = None, () if log is None else log.kind_names
    if past.kinds is not None:
        kinds, names = _kinds(past.kinds, names)
    return {
        "times": None if past.times is None else np.array(past.times, dtype=np.int64),
        "weights": None if past.weights is None else np.array(past.weights, dtype=np.float32),
        "kinds": kinds,
        "kind_names": names,
        "ratings": None if past.ratings is None else np.array(past.ratings, dtype=np.float32),
    }


def _kinds(kinds: Sequence[str | None], names: tuple[str, ...]) -> tuple[NDArray[np.int8], tuple[str, ...]]:
    """Kinds as places; those that the log does not have come after its own."""
    extended = tuple(dict.fromkeys([*names, *sorted({kind for kind in kinds if kind is not None})]))[:MOST_KINDS]
    places = {name: place for place, name in enumerate(extended)}
    return np.array([-1 if kind is None else places.get(kind, -1) for kind in kinds], dtype=np.int8), extended


def _moment(snapshot: Snapshot, asked: Asked, clock: Callable[[], float]) -> int | None:
    """When it is asked, in the unit of the log's times; a log without times does not know what time is."""
    log = snapshot.recommender.histories
    if asked.at is None and log is not None and log.times is None:
        return None
    return int(clock() if asked.at is None else asked.at) * units_per_second(log)


def _excluded(catalog: Catalog, asked: Asked, past: UserPast | None) -> Int32Array:
    named = _known(catalog, asked.exclude, "exclude")
    if past is None or not past.dismissed:
        return named
    dismissed = catalog.items.get(sorted(past.dismissed))
    return np.concatenate([named, dismissed[dismissed >= 0]])


def _known(catalog: Catalog, ids: Sequence[str], name: str) -> Int32Array:
    rows = catalog.items.get(ids)
    if (rows < 0).any():
        unknown = [
            f"{name}[{place}]" for place in np.flatnonzero(rows < 0).tolist()
        ]  # the place: an id is not repeated
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise Unprocessable(f"items that the catalog does not have: {', '.join(unknown[:5])}{more}")
    return rows
