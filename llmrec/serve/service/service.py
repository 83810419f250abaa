"""The service as one object: lists, what people did, items, users, pipelines, experiments, and how it is."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llmrec.errors import ConfigError
from llmrec.serve.asked import Asked
from llmrec.serve.config import ServeConfig
from llmrec.serve.problems import NotFound
from llmrec.serve.records import Added, Deployment, Erased, Job, Key, NewEvent
from llmrec.serve.service._catalogs import Catalogs
from llmrec.serve.service._intake import Intake
from llmrec.serve.service._life import Life
from llmrec.serve.service._lists import Lists
from llmrec.serve.service._parts import Parts
from llmrec.serve.service._people import People
from llmrec.serve.views import ItemView, Listed, Page, Readiness, Status, Traced, UserView

if TYPE_CHECKING:
    from llmrec.reasons import Explanation
    from llmrec.serve.engine import Engine
    from llmrec.serve.experiments import Experiment, Experiments, Report
    from llmrec.serve.learn import Learner
    from llmrec.serve.live import Models, Snapshot
    from llmrec.serve.service.jobs import JobBook
    from llmrec.serve.store import Store
    from llmrec.types import Item

__all__ = ["Service"]


class Service:
    """Everything that can be asked of the service. Its methods are called on one event loop; none of them blocks it.

    Attributes:
        config: its settings.
        store: what is durable.
        models: the pipelines as they are now.
        engine: answers requests.
        learner: brings what counts events up to date.
        experiments: which pipeline a user gets.
        job_book: begins jobs under this service's name.
    """

    config: ServeConfig
    store: Store
    models: Models
    engine: Engine
    learner: Learner
    experiments: Experiments
    job_book: JobBook

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.config, self.store, self.models = parts.config, parts.store, parts.models
        self.engine, self.learner, self.experiments = parts.engine, parts.learner, parts.experiments
        self.job_book = parts.job_book
        self._lists, self._intake, self._people = Lists(parts), Intake(parts), People(parts)
        self._catalogs, self._life = Catalogs(parts), Life(parts)

    @classmethod
    def open(cls, config: ServeConfig, clock: Callable[[], float] = time.time) -> Service:
        """Open the store and put the parts together; nothing is loaded yet.

        Args:
            config: its settings.
            clock: seconds since the epoch.

        Raises:
            StoreError: the store cannot be opened.
            ConfigError: there is no bundle "default".
        """
        from llmrec.serve.engine import Engine
        from llmrec.serve.experiments import Experiments
        from llmrec.serve.learn import Learner
        from llmrec.serve.live import Models
        from llmrec.serve.store import open_store

        if "default" not in config.bundles:
            raise ConfigError("no bundle is called 'default'; that is what a request without an alias asks")
        store = open_store(config.store)
        models = Models(store, config, clock)
        learner, experiments = (
            Learner(store, models, config),
            Experiments(store, models.aliases, refresh_s=math.inf, clock=clock),
        )
        return cls(Parts.of(config, store, models, Engine(models, store, config), learner, experiments, clock))

    @property
    def started(self) -> float:
        """Seconds since the epoch; 0 before the start."""
        return self._life.started

    async def start(self) -> None:
        """Load and warm the pipelines, then answer.

        Raises:
            ConfigError: the host is not this machine alone, and the store has no key.
            BundleError: a bundle cannot be loaded.
        """
        await self._life.start()

    async def stop(self) -> None:
        """Refuse new requests, answer accepted ones, stop learning, close the store. Safe to call twice."""
        await self._life.stop()

    # lists

    async def recommend(self, asked: Asked, *, log: bool = True, anonymous: str | None = None) -> Listed:
        """Return a list for a user, a history or a wish; recorded durably before it returns.

        Where the alias is "default" and an experiment runs, the experiment chooses the pipeline.

        Args:
            asked: of kind "recommend".
            log: False: the list is not recorded (impression_id None), and no experiment takes part.
            anonymous: a stable key of somebody without a user id, so that experiments treat them the same each time.

        Raises:
            NotFound, Unprocessable, TooMany, TooLate, Unavailable.
        """
        return await self._lists.recommend(asked, log, anonymous)

    async def search(self, asked: Asked) -> Listed:
        """Return the items nearest to a text; not recorded."""
        return await self._lists.search(asked)

    async def similar(self, asked: Asked) -> Listed:
        """Return the items most like one; not recorded."""
        return await self._lists.similar(asked)

    async def explain(self, asked: Asked, item_ids: Sequence[str] | None = None, reasons: int = 3) -> list[Explanation]:
        """Explain items of a list, or the k best of it, by what is known without which they would stand lower."""
        return await self._lists.explain(asked, item_ids, reasons)

    async def trace(self, asked: Asked, candidates: int = 50) -> Traced:
        """Return how a list comes about; at most so many candidates of each stage, best first. Not recorded."""
        return await self._lists.trace(asked, candidates)

    # what people did

    async def add_events(
        self, events: Sequence[NewEvent], *, idempotency_key: str | None = None, caller: str = ""
    ) -> Added:
        """Store events durably; the next request of their users reads them.

        Args:
            events: all or none are stored.
            idempotency_key: the same key again gives the first answer again.
            caller: the id of the key that asks; idempotency keys are its own.

        Raises:
            Unprocessable: an item is unknown, or a value does not fit; says at which place (0-based).
            Conflict: the idempotency key was used for other events.
            TooLarge: more events than a request may hold.
        """
        return await self._intake.add_events(events, idempotency_key, caller)

    async def feedback(
        self,
        impression_id: str,
        item_id: str,
        kind: str,
        *,
        event_id: str | None = None,
        idempotency_key: str | None = None,
        caller: str = "",
    ) -> Added:
        """Store what was done with an item of a recorded list; user and place come from the list.

        Raises:
            NotFound: there is no such impression.
            Unprocessable: the item was not in it, or the kind is not one of `ACTIONS`.
        """
        event = NewEvent(None, item_id, kind, event_id=event_id, impression_id=impression_id)
        return await self._intake.feedback(event, idempotency_key, caller)

    # items

    async def put_items(self, items: Sequence[Item], *, replace: bool) -> int:
        """Add or change items in every pipeline; they are recommended when this returns.

        Args:
            items: each id once.
            replace: True: fields that are not named become empty; False: they stay.

        Returns:
            How many of them were new (or had been removed).

        Raises:
            Unprocessable: a field is unknown, or a value does not fit.
        """
        return await self._catalogs.put(items, replace)

    async def remove_items(self, item_ids: Sequence[str]) -> int:
        """Take items out of every pipeline; returns how many were there.

        Raises:
            NotFound: an id is not in the catalog, or was removed.
        """
        return await self._catalogs.remove(item_ids)

    async def item(self, item_id: str, alias: str = "default") -> ItemView:
        """Return an item, with its text as each retriever indexes it.

        Raises:
            NotFound: no such item (removed ones are there, with state "removed").
        """
        return await self._catalogs.item(item_id, alias)

    async def items(
        self, cursor: str | None = None, limit: int = 50, find: str | None = None, alias: str = "default"
    ) -> Page[ItemView]:
        """Return a page of the catalog, in row order, without texts.

        Args:
            cursor: `next` of the page before.
            limit: entries of a page at most.
            find: only items whose id or one of whose fields holds this, whatever its case.
            alias: whose catalog.

        Raises:
            BadRequest: the cursor is none of ours.
        """
        return await self._catalogs.items(cursor, limit, find, alias)

    # users

    async def user(self, user_id: str) -> UserView:
        """Return what is known of a user; of one of whom nothing is known, `known` False and nothing else."""
        return await self._people.user(user_id)

    async def put_user(self, user_id: str, profile: Mapping[str, Any]) -> None:
        """Store a user's profile, instead of the one before; the next request reads it."""
        await self._people.put_user(user_id, profile)

    async def erase_user(self, user_id: str) -> Erased:
        """Erase everything known of a user: from the store, caches, waiting requests, and bundle histories in use."""
        return await self._people.erase(user_id)

    # pipelines

    async def deploy(self, alias: str, path: Path | None = None) -> Snapshot:
        """Load a bundle for an alias (None: its folder again) beside the old one, and swap."""
        return await self._life.deploy(alias, path)

    async def rollback(self, alias: str) -> Snapshot:
        """Go back to what the alias stood for before.

        Raises:
            Conflict: there is nothing before.
        """
        return await self._life.rollback(alias)

    async def deployments(self, alias: str | None = None) -> list[Deployment]:
        """Return what aliases have stood for, newest first."""
        return await self._parts.blocking(self.store.deployments, alias)

    async def refit(self, alias: str = "default", *, force: bool = False) -> Job:
        """Begin to fit an alias's pipeline anew on everything that is known now, in a process of its own.

        It is deployed if it is not surely worse than the old one on the newest events, or `force`.

        Returns:
            The job; ask `job` for its progress.

        Raises:
            Conflict: a refit of this alias is under way.
        """
        return await self._life.refit(alias, force)

    async def job(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            NotFound: no such job.
        """
        job = await self._parts.blocking(self.store.job, job_id)
        if job is None:
            raise NotFound("there is no such job")
        return job

    async def jobs(self, kind: str | None = None, limit: int = 50) -> list[Job]:
        """Return jobs, newest first."""
        return await self._parts.blocking(self.store.jobs, kind, limit)

    # experiments

    async def create_experiment(
        self,
        name: str,
        variants: Mapping[str, str],
        *,
        weights: Mapping[str, float] | None = None,
        kind: Literal["ab", "interleave"] = "ab",
    ) -> Experiment:
        """Begin an experiment over users of the alias "default".

        Args:
            name: new.
            variants: variant name to alias.
            weights: share of users by variant; None: equal.
            kind: "ab" or "interleave".

        Raises:
            Conflict: the name is taken, or another experiment runs.
            Unprocessable: an alias is unknown, or weights do not fit.
        """
        return await self._parts.blocking(self.experiments.create, name, variants, weights=weights, kind=kind)

    async def stop_experiment(self, name: str) -> Experiment:
        """Stop an experiment; its numbers stay.

        Raises:
            NotFound: no such experiment.
        """
        return await self._parts.blocking(self.experiments.stop, name)

    async def list_experiments(self) -> list[Experiment]:
        """Return all experiments, newest first."""
        return (await self._parts.blocking(self.experiments.list))[::-1]

    async def report_experiment(self, name: str) -> Report:
        """Return what an experiment shows so far; valid at any time it is looked at.

        Raises:
            NotFound: no such experiment.
        """
        return await self._parts.blocking(self.experiments.report, name)

    # keys, and how it is

    async def find_key(self, secret: str) -> Key | None:
        """Return the key a secret is of; None: of none, or of a revoked one."""
        return await self._parts.blocking(self.store.find_key, secret)

    async def has_keys(self) -> bool:
        """Whether any key was ever made; without one the service is open to this machine alone."""
        return bool(await self._parts.blocking(self.store.keys))

    def ready(self) -> Readiness:
        """Whether requests are answered, and if not, why; quick, never blocks."""
        return self._life.watch.ready()

    async def status(self) -> Status:
        """Return everything that a person who runs the service wants to see."""
        return await self._life.watch.status(self.started)
