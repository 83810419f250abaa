"""The store as the rest of the service sees it."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

from llmrec.serve.records import (
    Added,
    Deployment,
    Erased,
    Impression,
    ItemState,
    Job,
    Key,
    NewEvent,
    Scope,
    StoredEvent,
    StoredItem,
)
from llmrec.serve.store import _counts, _events, _impressions, _items, _keys, _users, _work
from llmrec.serve.store._database import Database
from llmrec.serve.store._opening import opened
from llmrec.serve.store._plain import dumped, finite, plain, storable
from llmrec.serve.store._sql import chunks, counter, mark
from llmrec.serve.store._writer import Writer
from llmrec.serve.store.outcomes import Outcome

__all__ = ["Store", "open_store"]

_KEYS_KEPT_S = 24 * 3600.0
_PRUNE_EVERY_S = 3600.0


def open_store(url: str) -> Store:
    """Open a store; make it, or bring its tables up to date, where that is needed.

    Args:
        url: "sqlite:///file" or a path, "postgresql://user:password@host/database".

    Raises:
        StoreError: it cannot be reached or written, or is of a newer llmrec.
        MissingExtraError: PostgreSQL's driver is not installed.
    """
    database, secret = opened(url)
    return Store(database, secret)


class Store:
    """What is durable. Thread-safe; every method may block, for 30 s at most (`note_models`: for each 500 users).

    A write is on disk when the method returns: writers that wait at the same time share a transaction. Ids and names of
    all methods have at most 512 characters and no NUL; others are Unprocessable. Every method may also raise
    Unavailable (the database does not answer) and Broken.

    Args:
        database: migrated.
        secret: what marks of users and idempotency keys are keyed with.
    """

    def __init__(self, database: Database, secret: bytes) -> None:
        self._database = database
        self._secret = secret
        self._writer = Writer(database.writing)
        self._gate = threading.Lock()
        self._prune_at = float("-inf")

    def __enter__(self) -> Store:
        """The store itself."""
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what waits, and let go of the database. Doing it again does nothing."""
        self._writer.close()
        self._database.close()

    def ping(self) -> None:
        """Ask the database something.

        Raises:
            Unavailable: it does not answer.
        """
        self.last_seq()

    # events

    def add_events(
        self, events: Sequence[NewEvent], *, now: float, idempotency_key: str | None = None, caller: str = ""
    ) -> Added:
        """Store events, all or none.

        Args:
            events: in the order of their numbers. One whose `event_id` is there is a repeat, and not stored again.
            now: seconds since the epoch.
            idempotency_key: the caller's name for this call: the same call again gets the first answer again, for 24
                hours at least, also after a user in it was erased.
            caller: whose key that is.

        Raises:
            Conflict: the key was used for other events.
            Unprocessable: a value cannot be stored.
        """
        if idempotency_key is not None:
            self._prune(now)
        batch = _events.batch_of(events, now=now, idempotency_key=idempotency_key, caller=caller, secret=self._secret)
        return self._writer.write(_events.add, batch)

    def last_seq(self) -> int:
        """The number of the newest event there ever was; 0: none."""
        return self._database.read(lambda connection: counter(connection, "events"))

    def events_after(self, seq: int, limit: int = 1000) -> list[StoredEvent]:
        """Events with a greater number, oldest first. None with a smaller number than these comes later."""
        return self._database.read(lambda connection: _events.after(connection, seq, limit))

    def user_events(self, user_id: str, *, after: int = 0, limit: int = 1000) -> list[StoredEvent]:
        """The newest `limit` events of a user with a number greater than `after`, oldest first."""
        plain("user_id", user_id)
        return self._database.read(lambda connection: _events.of_user(connection, user_id, after, limit))

    def users_page(self, cursor: str | None, limit: int) -> tuple[list[str], str | None]:
        """Users with an event, a list or a profile, in the order of code points; and the cursor of the next page."""
        if cursor is not None:
            plain("cursor", cursor)
        users = self._database.read(lambda connection: _users.page(connection, cursor, limit + 1))
        return users[:limit], (users[limit - 1] if len(users) > limit else None)

    def dismissed(self, user_id: str) -> frozenset[str]:
        """Items that the user dismissed and did not restore since; what came last counts, whatever its time says."""
        plain("user_id", user_id)
        return self._database.read(lambda connection: _events.dismissed(connection, user_id))

    # lists that were handed out

    def add_impressions(self, impressions: Sequence[Impression]) -> None:
        """Store lists; one whose id is there already is left as it is.

        Raises:
            Unprocessable: a value cannot be stored.
        """
        self._writer.write(_impressions.add, [_impressions.row_of(impression) for impression in impressions])

    def unit(self, anonymous: str) -> str:
        """`Impression.unit`: a keyed hash of what tells somebody without an id from others; no user's id is like it."""
        return f"\x1f{mark(self._secret, 'unit', anonymous).hex()}"

    def impression(self, impression_id: str) -> Impression | None:
        """A list by its id; None: not known."""
        plain("impression_id", impression_id)
        return self._database.read(lambda connection: _impressions.one(connection, impression_id))

    def impressions_between(
        self, start: float, end: float, *, experiment: str | None = None, limit: int = 100_000, after: str = ""
    ) -> list[Impression]:
        """Lists with start <= time < end, oldest first.

        Args:
            start: seconds since the epoch.
            end: seconds since the epoch.
            experiment: only of this one.
            limit: at most so many.
            after: id of the list to go on behind: the last of the page before.

        Raises:
            NotFound: there is no list `after` (any more).
        """
        plain("after", after)
        plain("experiment", experiment or "")
        return self._database.read(
            lambda connection: _impressions.between(connection, start, end, experiment, limit, after)
        )

    # items

    def put_items(self, items: Sequence[tuple[str, Mapping[str, Any], ItemState]]) -> int:
        """Lay fields over what was put of each item before, and set its state; the number of the last change.

        Raises:
            Unprocessable: a value cannot be stored.
        """
        for item_id, fields, _state in items:
            plain("item_id", item_id)
            dumped("fields", fields)
        return self._writer.run(lambda connection: _items.change(connection, items))

    def items_after(self, seq: int, limit: int = 1000) -> list[StoredItem]:
        """Items as they are now whose last change has a greater number, oldest change first."""
        return self._database.read(lambda connection: _items.after(connection, seq, limit))

    def item(self, item_id: str) -> StoredItem | None:
        """An item as it is now; None: it was never put."""
        plain("item_id", item_id)
        return self._database.read(lambda connection: _items.one(connection, item_id))

    def last_item_seq(self) -> int:
        """The number of the newest change; 0: none."""
        return self._database.read(lambda connection: counter(connection, "items"))

    # users

    def put_user(self, user_id: str, profile: Mapping[str, Any]) -> None:
        """Store a profile in the place of the old one.

        Raises:
            Unprocessable: a value cannot be stored.
        """
        plain("user_id", user_id)
        text = dumped("profile", profile)
        self._writer.run(lambda connection: _users.put_profile(connection, user_id, text))

    def profile(self, user_id: str) -> Mapping[str, Any] | None:
        """A user's profile; None: there is none."""
        plain("user_id", user_id)
        return self._database.read(lambda connection: _users.profile(connection, user_id))

    def profiles_after(self, user_id: str, limit: int = 1000) -> list[tuple[str, Mapping[str, Any]]]:
        """Users and their profiles, by id, behind an id; "": from the first."""
        return self._database.read(lambda connection: _users.profiles_after(connection, user_id, limit))

    def erase_user(self, user_id: str, *, now: float) -> Erased:
        """Delete a user's events, lists and profile; a keyed hash stays, so that older bundles are known to hold them.

        SQLite's file is overwritten where they were. PostgreSQL reuses the place when it vacuums. Idempotency records
        hold nothing of a user and stay, so that a repeated call does not bring events back.
        """
        plain("user_id", user_id)
        user = self._user(user_id)
        erased = self._writer.run(lambda connection: _users.erase(connection, user_id, user, now))
        self._database.forget_log()
        return erased

    def is_erased(self, user_id: str) -> bool:
        """Whether the user was ever erased: nothing of before may be used. What was stored since then may."""
        return self.erased_at_seq(user_id) is not None

    def erased_at_seq(self, user_id: str) -> int | None:
        """The number of the newest event when the user was last erased; None: never."""
        return self._database.read(partial(_users.erased_at, mark=self._user(user_id)))

    def erased_among(self, user_ids: Iterable[str]) -> dict[str, int]:
        """Of some users those who were erased, with `erased_at_seq`; asks the database once."""
        gone = self._database.read(_users.all_erased)
        return {user: seq for user in user_ids if (seq := gone.get(self._user(user))) is not None} if gone else {}

    def note_models(self, bundle: str, user_ids: Iterable[str]) -> None:
        """Note, as keyed hashes, with which users' data a bundle was fitted; `Erased.models` tells it."""
        plain("bundle", bundle)
        for some in chunks(user_ids):
            marks = [self._user(user_id) for user_id in some]
            self._writer.run(partial(_users.fitted_with, bundle=bundle, marks=marks))

    # keys

    def add_key(
        self, name: str, scopes: Sequence[Scope], *, per_minute: int | None = None, now: float
    ) -> tuple[Key, str]:
        """Make a key; its secret is nowhere but in the answer.

        Raises:
            Unprocessable: no scope, or an unknown one.
        """
        key, secret = _keys.new(name, scopes, per_minute, now)
        self._writer.run(lambda connection: _keys.save(connection, key, secret))
        return key, secret

    def find_key(self, secret: str) -> Key | None:
        """The key that a secret opens; None: none, or one that was revoked."""
        return self._database.read(lambda connection: _keys.by_secret(connection, secret))

    def keys(self) -> list[Key]:
        """All keys, oldest first, also revoked ones."""
        return self._database.read(_keys.every)

    def revoke_key(self, key_id: str) -> None:
        """Let a key open nothing any more.

        Raises:
            NotFound: there is no such key.
        """
        plain("key_id", key_id)
        self._writer.run(lambda connection: _keys.revoke(connection, key_id))

    # deployments and jobs

    def add_deployment(self, alias: str, path: str, bundle: str, *, now: float, why: str) -> Deployment:
        """Note that an alias stands for a bundle from now on."""
        wanted = Deployment(0, plain("alias", alias), storable("path", path), plain("bundle", bundle), now, why)
        return self._writer.run(lambda connection: _work.deploy(connection, wanted))

    def deployments(self, alias: str | None = None) -> list[Deployment]:
        """Newest first; of one alias, or all."""
        if alias is not None:
            plain("alias", alias)
        return self._database.read(lambda connection: _work.deployments(connection, alias))

    def add_job(self, kind: str, asked: Mapping[str, Any], *, now: float) -> Job:
        """Note work that waits to be done."""
        dumped("asked", asked)
        job = Job(secrets.token_urlsafe(16), plain("kind", kind), "waiting", asked, created=now, updated=now)
        self._writer.run(lambda connection: _work.add_job(connection, job))
        return job

    def update_job(
        self,
        job_id: str,
        *,
        now: float,
        state: Literal["waiting", "running", "done", "failed"] | None = None,
        progress: float | None = None,
        message: str | None = None,
        result: Mapping[str, Any] | None = None,
    ) -> Job:
        """Change what is given; the job as it is then.

        Raises:
            NotFound: there is no such job.
        """
        given = {"state": state, "progress": finite("progress", progress), "message": message, "result": result}
        changes = {name: value for name, value in given.items() if value is not None}
        dumped("result", result or {})
        plain("job_id", job_id)
        return self._writer.run(lambda connection: _work.change_job(connection, job_id, now, changes))

    def job(self, job_id: str) -> Job | None:
        """A job by its id; None: not known."""
        plain("job_id", job_id)
        return self._database.read(lambda connection: _work.job(connection, job_id))

    def jobs(self, kind: str | None = None, limit: int = 50) -> list[Job]:
        """Newest first; of one kind, or all."""
        plain("kind", kind or "")
        return self._database.read(lambda connection: _work.jobs(connection, kind, limit))

    # small values

    def put_value(self, space: str, name: str, value: Mapping[str, Any], *, expect_absent: bool = False) -> None:
        """Store a JSON object by name.

        Raises:
            Conflict: it is there already, and `expect_absent`.
            Unprocessable: it has no JSON.
        """
        plain("space", space)
        plain("name", name)
        text = dumped("value", value)
        self._writer.run(lambda connection: _work.put_value(connection, space, name, text, expect_absent))

    def value(self, space: str, name: str) -> Mapping[str, Any] | None:
        """An object by name; None: not there."""
        plain("space", space)
        plain("name", name)
        return self._database.read(lambda connection: _work.values(connection, space, name)).get(name)

    def values(self, space: str) -> dict[str, Mapping[str, Any]]:
        """All objects of a space, in the order of their names."""
        plain("space", space)
        return self._database.read(lambda connection: _work.values(connection, space))

    def delete_value(self, space: str, name: str) -> None:
        """Delete an object; nothing happens where there is none."""
        plain("space", space)
        plain("name", name)
        self._writer.run(lambda connection: _work.drop_value(connection, space, name))

    # counts

    def counts_between(self, start: float, end: float) -> list[Mapping[str, Any]]:
        """What became of the lists with start <= time < end: a row a day (UTC), alias and bundle, newest day first.

        A row has alias, bundle, day ("YYYY-MM-DD", of the list), impressions, clicks, likes, buys, dismissals; the same
        done twice to an item of a list counts once.
        """
        return list(self._database.read(lambda connection: _counts.by_day(connection, start, end)))

    def outcomes(self, experiment: str, *, after_seq: int = 0) -> list[Outcome]:
        """What each unit of an experiment saw and did, by the time of its first list.

        Args:
            experiment: its name.
            after_seq: only lists that were handed out after the event of this number was stored; 0: all.
        """
        plain("experiment", experiment)
        return self._database.read(lambda connection: _counts.outcomes(connection, experiment, after_seq))

    def _user(self, user_id: str) -> bytes:
        return mark(self._secret, "user", user_id)

    def _prune(self, now: float) -> None:
        """Forget old idempotency keys, once an hour."""
        with self._gate:
            if now < self._prune_at:
                return
            self._prune_at = now + _PRUNE_EVERY_S
        self._writer.run(partial(_events.prune, before=now - _KEYS_KEPT_S))
