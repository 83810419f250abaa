"""The client: one object a service."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Any, Literal, Self

import httpx2

from llmrec.client import _bulk
from llmrec.client._http import Call, Connection, Patience, Repeat, parse, segment
from llmrec.client.admin import Admin
from llmrec.client.reports import AliasInfo, Readiness
from llmrec.client.results import (
    Added,
    BulkLine,
    Erased,
    Explanation,
    Item,
    Listed,
    Page,
    Traced,
    User,
)
from llmrec.client.wanted import Event, Wanted

__all__ = ["Client"]


class Client:
    """Asks one service. Threads may share it; processes make their own.

    A request that was refused for now (429, 503), or found no connection, is made again after a while, with growing
    pauses, some of them by lot, or after as long as the service asks for. One that may have been carried out is made
    again only where twice is as good as once: reading, putting, erasing, and events, which carry a key that the service
    knows repeats by.

    ::

        with Client("http://localhost:8080", key=os.environ["LLMREC_KEY"]) as client:
            listed = client.recommend(Wanted(user_id="c042", k=5))
            client.feedback(listed.impression_id, listed.items[0].item_id, "click")

    Args:
        url: of the service; with a path where it stands behind one.
        key: the secret that `llmrec key add` showed; None: the service has no keys.
        timeout: seconds to wait for a connection, for a piece of the answer, for room to write.
        retries: repeats at most; or a ``Patience``, with the pauses too.
        transport: of httpx2; None: TCP.

    Attributes:
        admin: what needs a key of scope "admin".

    Raises:
        ValueError: the URL or the key cannot be one.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        timeout: float = 10.0,
        retries: int | Patience = 3,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        patience = retries if isinstance(retries, Patience) else Patience(retries=retries)
        self._connection = Connection(url, key, timeout, patience, transport)
        self.admin = Admin(self._connection)

    def __repr__(self) -> str:
        return f"Client({str(self._connection.url)!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back; safe to call twice."""
        self._connection.close()

    def ready(self) -> Readiness:
        """Return whether the service answers requests; asks once, without a repeat.

        Raises:
            UnreachableError: nothing answers.
            ServiceError: see `llmrec.client.errors`; so of all methods.
        """
        response = self._connection.send(Call("GET", "/readyz", repeat="never", good=frozenset({503})))
        found: Readiness = parse(Readiness, response)
        return found

    # lists

    def recommend(self, wanted: Wanted, *, log: bool = True, deadline: float | None = None) -> Listed:
        """Return a list for a user, a history, a wish, or nobody known.

        Args:
            wanted: for whom, and of what.
            log: False: the list is not recorded, and feedback cannot name it.
            deadline: seconds after which the answer is of no use.
        """
        body = {**_body(wanted), "log": log}
        return self._list("/v1/recommend", body, deadline, "refused" if log else "any")

    def similar(
        self, item_id: str, k: int = 10, *, alias: str | None = None, filters: Mapping[str, Sequence[str]] | None = None
    ) -> Listed:
        """Return the items that are most like one."""
        body = _filled({"item_id": item_id, "k": k, "alias": alias, "filters": filters})
        return self._list("/v1/similar", body, None, "any")

    def search(
        self, text: str, k: int = 10, *, alias: str | None = None, filters: Mapping[str, Sequence[str]] | None = None
    ) -> Listed:
        """Return the items that are nearest to a text."""
        body = _filled({"text": text, "k": k, "alias": alias, "filters": filters})
        return self._list("/v1/search", body, None, "any")

    def explain(
        self,
        wanted: Wanted,
        item_ids: Sequence[str] | None = None,
        *,
        reasons: int = 3,
        deadline: float | None = None,
    ) -> tuple[Explanation, ...]:
        """Return why items are recommended.

        Args:
            wanted: for whom.
            item_ids: which items; None: the `wanted.k` best.
            reasons: of each item at most.
            deadline: seconds after which the answer is of no use.
        """
        body = {**_body(wanted), **_filled({"item_ids": item_ids, "reasons": reasons})}
        response = self._connection.send(Call("POST", "/v1/explain", body, headers=_deadline(deadline)))
        found: tuple[Explanation, ...] = parse(tuple[Explanation, ...], response, "explanations")
        return found

    def trace(self, wanted: Wanted, *, candidates: int = 50, deadline: float | None = None) -> Traced:
        """Return how a list comes about: the best so many candidates of every stage, with their scores."""
        body = {**_body(wanted), "candidates": candidates}
        found: Traced = parse(
            Traced, self._connection.send(Call("POST", "/v1/trace", body, headers=_deadline(deadline)))
        )
        return found

    # what people did

    def add_interactions(
        self, events: Sequence[Event | Mapping[str, Any]], *, idempotency_key: str | None = None
    ) -> Added:
        """Store what people did; all of it or nothing. It is on disk when this returns.

        Args:
            events: see `Event`; more than the service takes at once: `bulk_interactions`.
            idempotency_key: the same key again stores nothing again; None: a new one, for the repeats of this call.
        """
        body = {"events": [_event(event) for event in events]}
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        found: Added = parse(Added, self._connection.send(Call("POST", "/v1/interactions", body, headers=headers)))
        return found

    def feedback(
        self,
        impression_id: str,
        item_id: str,
        kind: Literal["impression", "click", "like", "buy", "dismiss", "restore"],
        *,
        event_id: str | None = None,
    ) -> Added:
        """Store what was done with an item of a recorded list.

        Args:
            impression_id: of the list.
            item_id: in it.
            kind: "impression": it was seen; "dismiss": never again; "restore": undo that.
            event_id: unique; None: a new one.
        """
        body = {"impression_id": impression_id, "item_id": item_id, "kind": kind}
        body["event_id"] = event_id or uuid.uuid4().hex
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        found: Added = parse(Added, self._connection.send(Call("POST", "/v1/feedback", body, headers=headers)))
        return found

    # items

    def item(self, item_id: str, *, alias: str | None = None) -> Item:
        """Return an item, with its text as each retriever indexes it."""
        response = self._connection.send(Call("GET", _item(item_id), params={"alias": alias}))
        found: Item = parse(Item, response)
        return found

    def put_item(self, item_id: str, fields: Mapping[str, Any]) -> Item:
        """Add an item, or put another in its place; it is recommended when this returns."""
        response = self._connection.send(Call("PUT", _item(item_id), {"fields": dict(fields)}))
        found: Item = parse(Item, response)
        return found

    def patch_item(self, item_id: str, fields: Mapping[str, Any]) -> Item:
        """Change fields of an item; the others stay."""
        response = self._connection.send(Call("PATCH", _item(item_id), {"fields": dict(fields)}))
        found: Item = parse(Item, response)
        return found

    def delete_item(self, item_id: str) -> None:
        """Take an item out; a repeat after an answer that was lost may find it gone (NotFoundError)."""
        self._connection.send(Call("DELETE", _item(item_id)))

    def put_items(self, items: Mapping[str, Mapping[str, Any]], *, replace: bool = True) -> int:
        """Add or change items together; returns how many of them were new.

        Args:
            items: fields by id; more than the service takes at once: `bulk_items`.
            replace: whether fields that are not named become empty; False: they stay.
        """
        entries = [{"item_id": item_id, "fields": dict(fields)} for item_id, fields in items.items()]
        response = self._connection.send(Call("POST", "/v1/items", {"items": entries, "replace": replace}))
        added: int = parse(int, response, "added")
        return added

    def items(self, *, find: str | None = None, alias: str | None = None, limit: int | None = None) -> Iterator[Item]:
        """Yield the catalog, page by page.

        Args:
            find: only items of which the id or a field holds this.
            alias: whose catalog.
            limit: items of a page; None: as the service likes.
        """
        cursor: str | None = None
        while True:
            params = {"cursor": cursor, "limit": limit, "find": find, "alias": alias}
            page: Page[Item] = parse(Page[Item], self._connection.send(Call("GET", "/v1/items", params=params)))
            yield from page.entries
            cursor = page.next
            if cursor is None:
                return

    # users

    def user(self, user_id: str) -> User:
        """Return what is known of a user; of one of whom nothing is known, `known` is False."""
        found: User = parse(User, self._connection.send(Call("GET", _user(user_id))))
        return found

    def put_user(self, user_id: str, profile: Mapping[str, Any]) -> User:
        """Store a user's profile in the place of the one before."""
        response = self._connection.send(Call("PUT", _user(user_id), {"profile": dict(profile)}))
        found: User = parse(User, response)
        return found

    def erase_user(self, user_id: str) -> Erased:
        """Erase everything that is known of a user; a repeat after an answer that was lost finds nothing to count."""
        found: Erased = parse(Erased, self._connection.send(Call("DELETE", _user(user_id))))
        return found

    def aliases(self) -> tuple[AliasInfo, ...]:
        """Return the pipelines that can be asked, by name."""
        response = self._connection.send(Call("GET", "/v1/aliases"))
        found: tuple[AliasInfo, ...] = parse(tuple[AliasInfo, ...], response, "aliases")
        return found

    # many at once

    def bulk_interactions(
        self, events: Iterable[Event | Mapping[str, Any] | bytes], *, idempotency_key: str | None = None
    ) -> Iterator[BulkLine]:
        """Store any number of events; what is wrong with one does not stop the others.

        Sends some hundred at a time, and holds no more in memory.

        Args:
            events: or lines of JSON, as bytes.
            idempotency_key: the same key and events again, in the same order, store nothing again, also where a first
                try broke off; None: a new one.

        Yields:
            What became of each, in order.
        """
        lines = (event if isinstance(event, bytes) else _bulk.line_of(_event(event)) for event in events)
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        return _bulk.send(self._connection, "interactions", lines, headers=headers)

    def bulk_items(
        self, items: Iterable[tuple[str, Mapping[str, Any]] | bytes], *, replace: bool = True
    ) -> Iterator[BulkLine]:
        """Add or change any number of items; what is wrong with one does not stop the others.

        Args:
            items: id and fields; or lines of JSON, as bytes.
            replace: whether fields that are not named become empty; False: they stay.

        Yields:
            What became of each, in order.
        """
        lines = (
            item if isinstance(item, bytes) else _bulk.line_of({"item_id": item[0], "fields": dict(item[1])})
            for item in items
        )
        return _bulk.send(self._connection, "items", lines, params={"replace": "true" if replace else "false"})

    def bulk_recommend(self, wanted: Iterable[Wanted | bytes], *, log: bool = False) -> Iterator[BulkLine]:
        """Make any number of lists; what is wrong with one does not stop the others.

        Args:
            wanted: for whom; or lines of JSON, as bytes.
            log: whether the lists are recorded, for feedback to name; only where they will be shown.

        Yields:
            The list of each, in order.
        """
        lines = (one if isinstance(one, bytes) else _bulk.line_of(_body(one)) for one in wanted)
        params = {"log": "true" if log else "false"}
        return _bulk.send(self._connection, "recommend", lines, params=params, repeat="refused" if log else "any")

    def _list(self, path: str, body: Mapping[str, Any], deadline: float | None, repeat: Repeat) -> Listed:
        call = Call("POST", path, body, headers=_deadline(deadline), repeat=repeat)
        found: Listed = parse(Listed, self._connection.send(call))
        return found


def _filled(values: Mapping[str, Any]) -> dict[str, Any]:
    """What is known; the service has its own defaults for the rest."""
    return {name: value for name, value in values.items() if value is not None}


def _body(wanted: Wanted) -> dict[str, Any]:
    return {name: value for name, value in _filled(asdict(wanted)).items() if value != ()}


def _event(event: Event | Mapping[str, Any]) -> dict[str, Any]:
    return _filled(asdict(event) if isinstance(event, Event) else event)


def _deadline(seconds: float | None) -> dict[str, str]:
    return {} if seconds is None else {"X-Deadline-Ms": str(max(1, round(seconds * 1000)))}


def _item(item_id: str) -> str:
    return f"/v1/items/{segment(item_id)}"


def _user(user_id: str) -> str:
    return f"/v1/users/{segment(user_id)}"
