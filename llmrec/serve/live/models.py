"""The recommenders that are served: loaded, changed, swapped and rolled back while others read them."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec.errors import ConfigError, DataError, LlmrecError
from llmrec.serve.config import ServeConfig
from llmrec.serve.live.changes import ItemChange, apply_changes, check_changes, merged, with_stored_items
from llmrec.serve.live.erased import erased_of, without_users
from llmrec.serve.live.past import Pasts, UserPast
from llmrec.serve.live.snapshot import Snapshot, load_bundle, warm_up
from llmrec.serve.live.told import told
from llmrec.serve.problems import Conflict, NotFound, Unprocessable
from llmrec.serve.records import Deployment, ItemState

if TYPE_CHECKING:
    from llmrec.pipeline import Recommender
    from llmrec.serve.store import Store

__all__ = ["Models"]

LOG = logging.getLogger(__name__)


class Models:
    """The recommender of every alias, as it is now.

    Safe for threads: readers never wait, for a change puts a new snapshot in the place of the old one; writers take
    turns. A folder is loaded beside what is in force, and a failure leaves that in force.
    """

    def __init__(self, store: Store, config: ServeConfig, clock: Callable[[], float] = time.time) -> None:
        """Know where everything is; `start` loads it.

        Args:
            store: items and deployments.
            config: the aliases and their folders.
            clock: seconds since the epoch.
        """
        self._store, self._config, self._clock = store, config, clock
        self._current: Mapping[str, Snapshot] = {}
        self._before: dict[str, Snapshot] = {}
        self._versions = itertools.count(1)
        self._writing = threading.Lock()
        self._deploying = threading.Lock()
        self._pasts = Pasts(store, config.learn, clock=time.monotonic)

    def start(self) -> None:
        """Load every alias of the configuration.

        What was deployed last counts, if its folder is still there and the configuration names the same folder as when
        it was deployed: who names another one means that one.

        Raises:
            BundleError: a bundle is missing, damaged or too new.
            ConfigError: one uses a component that is not installed here.
        """
        with self._deploying:
            for alias, folder in self._config.bundles.items():
                snapshot, is_new = self._first(alias, folder.expanduser().resolve())
                self._swap(snapshot, "start" if is_new else None)

    def snapshot(self, alias: str = "default") -> Snapshot:
        """Return what an alias stands for now.

        Raises:
            NotFound: there is no such alias.
        """
        found = self._current.get(alias)
        if found is None:
            raise NotFound(f"there is no alias {alias!r}; there are: {', '.join(self.aliases())}")
        return found

    def aliases(self) -> list[str]:
        """The names that clients may use, sorted."""
        return sorted(self._current)

    def deploy(self, alias: str, path: Path | None = None, why: str = "reload") -> Snapshot:
        """Load a bundle beside the one in force, and swap.

        Args:
            alias: the name; a new one needs a path.
            path: the bundle's folder; None: that of the alias's last deployment, which another process may have noted
                (`llmrec refit --deploy`).
            why: "reload" or "refit", see `Deployment`.

        Raises:
            NotFound: there is no such alias, and no path.
            Unprocessable: the bundle cannot be served; what was in force stays so.
            Unavailable: the store does not answer; what was in force stays so.
        """
        with self._deploying:
            folder = self._folder(alias) if path is None else Path(path).expanduser().resolve()
            return self._swap(self._beside(alias, folder), why)

    def rollback(self, alias: str) -> Snapshot:
        """Put back what the alias stood for before; again, what it stood for before that.

        Raises:
            NotFound: there is no such alias.
            Conflict: there is nothing before, or its folder holds another bundle now.
            Unprocessable: it cannot be served any more.
        """
        with self._deploying:
            now = self.snapshot(alias)
            earlier = _earlier(self._store.deployments(alias))
            kept = self._before.pop(alias, None)
            if earlier is None:
                raise Conflict(f"alias {alias!r} has stood for nothing else before")
            if kept is None or (kept.path, kept.bundle) != (earlier.path, earlier.bundle):
                kept = self._beside(alias, Path(earlier.path))
            if kept.bundle != earlier.bundle:
                raise Conflict(f"the folder that alias {alias!r} stood for before holds another bundle now")
            done = self._swap(self._without_erased(kept), "rollback")
            self._before.pop(alias, None)
            LOG.info("alias %s: back from bundle %s to %s", alias, now.bundle, done.bundle)
            return done

    def put_items(self, items: Sequence[tuple[str, Mapping[str, Any], ItemState]]) -> int:
        """Put, change or remove items; when it returns, they are durable and in every answer.

        Args:
            items: id, the fields that are given (None empties one), and state of each.

        Returns:
            The store's number of the change.

        Raises:
            Unprocessable: an item does not fit; nothing was changed.
            Unavailable: the store does not answer; nothing was changed.
        """
        if not items:
            return self._store.last_item_seq()
        with self._writing:
            before = self._current
            check_changes({alias: snapshot.recommender.catalog for alias, snapshot in before.items()}, items)
            changes = merged(items)
            changed = {alias: _changed(snapshot, changes) for alias, snapshot in before.items()}
            seq = self._store.put_items(items)
            ready = [replace(before[alias], recommender=recommender) for alias, recommender in changed.items()]
            self._publish([self._caught_up(snapshot) for snapshot in ready])
            return seq

    def refresh(self) -> None:
        """Apply what other processes have put into the store.

        Raises:
            Unavailable: the store does not answer.
        """
        with self._writing:
            self._publish([self._caught_up(snapshot) for snapshot in self._current.values()])

    def change(self, alias: str, by: Callable[[Recommender], Recommender]) -> None:
        """Put what `by` makes of a recommender in its place; for learning.

        It is called without holding anybody up, and once more where something else was changed meanwhile.

        Args:
            alias: whose.
            by: makes a new recommender; it has no other effect.

        Raises:
            NotFound: there is no such alias.
        """
        seen = self.snapshot(alias)
        made = by(seen.recommender)
        with self._writing:
            now = self.snapshot(alias)
            if now is not seen:
                made = by(now.recommender)
            self._publish([replace(now, recommender=made)])

    def past(self, snapshot: Snapshot, user_id: str) -> UserPast:
        """Return what is known of a user; at hand where it was asked for lately. See `user_query`.

        Raises:
            Unavailable: the store does not answer.
        """
        return self._pasts.get(snapshot, user_id)

    def past_at_hand(self, snapshot: Snapshot, user_id: str) -> UserPast | None:
        """Return the same if the store need not be asked, else None; never waits."""
        return self._pasts.kept(snapshot, user_id)

    def forget(self, user_id: str | None = None) -> None:
        """Read what is known of a user anew next time, for it has changed; None: of everybody."""
        self._pasts.forget(self.aliases(), user_id)

    def _folder(self, alias: str) -> Path:
        """Where the bundle is that an alias is to stand for."""
        now, deployed = self.snapshot(alias), self._store.deployments(alias)
        return Path(deployed[0].path if deployed else now.path)

    def _first(self, alias: str, folder: Path) -> tuple[Snapshot, bool]:
        """What an alias stands for at the start, and whether that is to be recorded."""
        deployed = self._store.deployments(alias)
        newest = deployed[0] if deployed else None
        configured = next((one.path for one in deployed if one.why == "start"), None)
        if newest is not None and configured == str(folder) and newest.path != configured:
            try:
                return self._loaded(alias, Path(newest.path)), False
            except (OSError, LlmrecError) as error:
                LOG.warning("alias %s: what was deployed last cannot be loaded: %s", alias, told(error))
        loaded = self._loaded(alias, folder)
        same = newest is not None and (newest.path, newest.bundle) == (loaded.path, loaded.bundle)
        return loaded, not (same and configured == str(folder))

    def _beside(self, alias: str, folder: Path) -> Snapshot:
        try:
            return self._loaded(alias, folder)
        except Exception as error:
            LOG.warning("alias %s: %s cannot be served: %s", alias, folder, told(error))
            detail = f"the bundle cannot be served ({type(error).__name__}); what was in force stays so, see the log"
            raise Unprocessable(f"alias {alias!r}: {detail}") from error

    def _loaded(self, alias: str, folder: Path) -> Snapshot:
        """A bundle with all the store's items, tried once."""
        bundle, recommender = load_bundle(folder)
        fitted_seq = int((recommender.about or {}).get("store_seq", 0))
        fresh = Snapshot(alias, bundle, str(folder), 0, recommender, 0, fitted_seq, self._clock())
        ready = self._caught_up(self._without_erased(fresh))
        warm_up(ready.recommender)
        return ready

    def _without_erased(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot without who was erased since the bundle was fitted, whose files still hold them."""
        gone = erased_of(snapshot.recommender, self._store, snapshot.event_seq)
        return replace(snapshot, recommender=without_users(snapshot.recommender, gone)) if gone else snapshot

    def _swap(self, snapshot: Snapshot, why: str | None) -> Snapshot:
        """Put a snapshot in the place of its alias's; recorded first, so that a failure changes nothing."""
        with self._writing:
            ready = self._caught_up(snapshot)
            if why is not None:
                self._store.add_deployment(ready.alias, ready.path, ready.bundle, now=self._clock(), why=why)
            before = self._current.get(ready.alias)
            if before is not None:
                self._before[ready.alias] = before
            (done,) = self._publish([ready])
        self.forget()
        return done

    def _caught_up(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with what the store's items have become since."""
        done = with_stored_items(snapshot.recommender, self._store, snapshot.item_seq)
        if done.left_out:
            unfit = "alias %s: %d stored items do not fit this bundle's catalog and are left out"
            LOG.warning(unfit, snapshot.alias, done.left_out)
        if done.item_seq == snapshot.item_seq:
            return snapshot
        return replace(snapshot, recommender=done.recommender, item_seq=done.item_seq)

    def _publish(self, snapshots: Sequence[Snapshot]) -> list[Snapshot]:
        """Make snapshots what is read from now on, all at once; needs the writers' lock."""
        done = [
            snapshot
            if self._current.get(snapshot.alias) is snapshot
            else replace(snapshot, version=next(self._versions))
            for snapshot in snapshots
        ]
        self._current = {**self._current, **{snapshot.alias: snapshot for snapshot in done}}
        return done


def _changed(snapshot: Snapshot, changes: Sequence[ItemChange]) -> Recommender:
    try:
        return apply_changes(snapshot.recommender, changes)
    except (DataError, ConfigError) as error:
        raise Unprocessable(
            f"alias {snapshot.alias!r} cannot use these items: a rule or a component cannot read one of "
            f"their fields ({type(error).__name__})"
        ) from error


def _earlier(deployments: Sequence[Deployment]) -> Deployment | None:
    """What was in force before, of an alias's deployments, newest first; a rollback undoes the one before it."""
    standing: list[Deployment] = []
    for one in reversed(deployments):
        if one.why == "rollback" and standing:
            standing.pop()
        elif not standing or (standing[-1].path, standing[-1].bundle) != (one.path, one.bundle):
            standing.append(one)
    return standing[-2] if len(standing) > 1 else None
