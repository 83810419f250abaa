"""The cascade: stages of retrievers, scorers and a fusion, then policies. All of `recommend` is here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from llmrec.bundle import OpenedBundle, open_bundle, write_bundle
from llmrec.card import model_card
from llmrec.component import HoldsItems, Saves, find_component
from llmrec.data import Catalog, Interactions, Users, check_count, check_list
from llmrec.errors import ConfigError, DataError
from llmrec.policy import Policy
from llmrec.policy.chain import finish
from llmrec.queries import Request, log_queries
from llmrec.retrieve.base import Retriever, Searches, blocks, stack
from llmrec.retrieve.merge import align, complete
from llmrec.retrieve.reading import AllScores, best_in_blocks
from llmrec.stage import Stage, StageTrace, Trace, text_searcher
from llmrec.types import Candidates, Float32Array, Int64Array, Item, Queries, Ranking, Recommendation

if TYPE_CHECKING:
    from llmrec.models import LanguageModel
    from llmrec.reasons import Explanation

__all__ = ["Recommender", "Searches"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Recommender:
    """A cascade over a catalog. The same object is fitted, measured, saved and served.

    Attributes:
        catalog: all items.
        stages: the cascade, in order.
        policies: final rules.
        fallback: fills a list the stages leave short; it must be able to rank the whole catalog.
        histories: what known users did, so that they can be asked for by id; or None.
        users: the profiles of known users, for templates that show them; or None.
        about: where it comes from: configuration, data fingerprint, what was held out; JSON values.
    """

    catalog: Catalog
    stages: tuple[Stage, ...]
    policies: tuple[Policy, ...]
    fallback: Retriever
    histories: Interactions | None = None
    users: Users | None = None
    about: Mapping[str, Any] | None = None

    def __repr__(self) -> str:
        users = "" if self.histories is None else f"{self.histories.n_users:,} users, "
        stages = " > ".join(stage.name for stage in self.stages)
        return f"Recommender({len(self.catalog):,} items, {users}stages: {stages})"

    def recommend(self, queries: Queries, k: int) -> Ranking:
        """Return the k best items per query.

        A list is shorter than k only where fewer items may be shown at all.

        Args:
            queries: n queries; see `queries`.
            k: list length, >= 1.

        Returns:
            A Ranking of width min(k, n_items). Memory is bounded, whatever n.

        Raises:
            ConfigError: k is not a whole number of at least 1.
        """
        check_count(k)
        batches = (queries.take(rows) for rows in self._batches(len(queries)))
        parts = [self._run(batch, k, Stage.needed_columns)[-1] for batch in batches]
        return stack(parts, min(k, len(self.catalog)))

    def trace(self, queries: Queries, k: int) -> Trace:
        """Recommend, and show how: who proposed what, every score, what each stage kept.

        All queries are run as one batch: ask for a few at a time.
        """
        prepared, stages, final = self._run(queries, k, Stage.columns)
        proposed = [stage.ranking.items for stage in stages]
        known = [align(final.items, items, np.ones_like(items), np.int32(0)) > 0 for items in proposed]
        from_fallback = ~reduce(np.logical_or, known) & (final.items >= 0)
        return Trace(prepared, stages, final, from_fallback)

    def explain(
        self,
        queries: Queries,
        items: Sequence[Sequence[str]] | None = None,
        *,
        k: int = 1,
        reasons: int = 3,
        fields: Sequence[str] = (),
        template: str = "explain/because",
        phrase_with: LanguageModel | None = None,
    ) -> list[list[Explanation]]:
        """Explain why items are recommended, by what is known without which they would stand lower.

        History items (the newest 200), wish and profile fields are taken away one by one; the same candidates ranked.

        Args:
            queries: n queries; see `queries`.
            items: n lists of item ids to explain; None: the k best ones of each query.
            k: how many, where `items` is None.
            reasons: at most so many are named.
            fields: fields of the explained item that are taken away too.
            template: of kind "explain"; a name, or a .toml file.
            phrase_with: a model that says it in its own words, which are dropped if they name what is not evidence.

        Raises:
            DataError: an item is unknown, or cannot be recommended in answer to its query.
            ConfigError: the catalog has no such field, or a number is not a whole one of at least 1.
            TemplateError: the template cannot be used, or a component's template cannot do without a field.
        """
        from llmrec.reasons.explain import Asked, explain

        return explain(self, queries, Asked(items, k, reasons, tuple(fields), template, phrase_with))

    def similar(self, item_ids: Sequence[str], k: int) -> Ranking:
        """Return the k items whose text is nearest to each given item's.

        Raises:
            UnknownIdError: an id is not in the catalog.
            DataError: one string was given for a list.
            ConfigError: no retriever of this recommender knows items by text, or k is not a whole number >= 1.
        """
        check_count(k)
        check_list(item_ids, "item_ids")
        return text_searcher(self.stages).similar(self.catalog.items.rows(item_ids), k)

    def search(self, texts: Sequence[str], k: int) -> Ranking:
        """Return the k items whose text is nearest to each free text, by text alone.

        Raises:
            DataError: a text is empty, or one string was given for a list.
            ConfigError: no retriever of this recommender knows items by text, or k is not a whole number >= 1.
        """
        check_count(k)
        check_list(texts, "texts", "texts")
        if not all(isinstance(text, str) and text.strip() for text in texts):
            raise DataError("a search text is empty; say in words what to search for")
        return text_searcher(self.stages).retrieve(self.queries(wishes=texts), k)

    def add_items(self, items: Sequence[Item]) -> Self:
        """Return a recommender that also recommends these items, without any training.

        Args:
            items: new ids with text fields named as the catalog's columns. An id that was removed comes back as the
                item it was, with the fields given now.

        Raises:
            DataError: an id is already there, a field is unknown, or a value does not fit.
        """
        return self._over(self.catalog.with_items(items), items)

    def change_items(self, items: Sequence[Item]) -> Self:
        """Return a recommender that knows these items by other fields; fields that are not named stay.

        Args:
            items: known ids with the fields that change; None empties a field.

        Raises:
            UnknownIdError: an id is not in the catalog.
            DataError: an id was removed, a field is unknown, or a value does not fit.
        """
        return self._over(self.catalog.with_changes(items), items)

    def remove_items(self, item_ids: Sequence[str]) -> Self:
        """Return a recommender that no longer recommends these items; histories that hold them still count.

        Raises:
            UnknownIdError: an id is not in the catalog.
        """
        return self._over(self.catalog.without_items(item_ids), ())

    def with_notes(self, **notes: Any) -> Self:
        """Return the same recommender with more in `about`, and so in its bundle and on its card.

        Args:
            **notes: JSON values; the card knows "metrics", "cleaning" and "license", see `llmrec.card`.
        """
        return replace(self, about={**(self.about or {}), **notes})

    def queries(
        self,
        users: Sequence[str] | None = None,
        *,
        histories: Sequence[Sequence[str]] | None = None,
        wishes: Sequence[str | None] | None = None,
        profiles: Mapping[str, Sequence[Any]] | None = None,
        exclude: Sequence[Sequence[str]] | None = None,
        allow: Sequence[str] | None = None,
        at: Sequence[int] | None = None,
    ) -> Queries:
        """Turn ids into a batch of queries; the one place where a request's ids become rows.

        Args:
            users: known users; their stored histories and profiles are used.
            histories: item ids per query, oldest first; instead of `users`.
            wishes: a free text per query ("a slow western"), or None.
            profiles: user fields by name, one value per query, for templates that show them; instead of stored ones.
            exclude: item ids per query that must not come back.
            allow: only these items may come back, for every query.
            at: the time of each query, in the unit of the log's times (seconds since the epoch).

        Raises:
            UnknownIdError: a user or item is not known.
            DataError: there are neither users, histories nor wishes, the arguments differ in length, or one string
                was given for a list.
        """
        request = Request(users, histories, wishes, profiles, exclude, allow, at)
        return request.queries(self.catalog, self.histories, self.users)

    def history_queries(self, log: Interactions, rows: Int64Array | None = None) -> Queries:
        """Return histories of a log as queries, with the stored profiles of their users.

        Args:
            log: a log over this catalog.
            rows: Int64[n], rows of `log.users`; all users if None.
        """
        return log_queries(log, rows, self.users)

    def decode(self, ranking: Ranking) -> list[list[Recommendation]]:
        """Turn rows back into ids: one list of recommendations per query."""
        ids = self.catalog.items
        nothing = np.full(ranking.items.shape, None)
        shown = nothing if ranking.propensities is None else ranking.propensities.astype(object)
        return [
            [
                Recommendation(ids[int(item)], place + 1, float(score), propensity)
                for place, (item, score, propensity) in enumerate(zip(*row, strict=True))
                if item >= 0
            ]
            for row in zip(ranking.items, ranking.scores, shown, strict=True)
        ]

    def save(self, path: str | Path) -> Path:
        """Save as a bundle: everything needed to serve, no training data beyond the stored histories.

        Args:
            path: the bundle's folder; an older bundle there is replaced in one step.

        Returns:
            The folder, absolute.

        Raises:
            BundleError: the folder holds something else, or cannot be written.
        """
        parts = {"catalog": self.catalog.state()}
        if self.histories is not None:
            parts["histories"] = self.histories.state()
        if self.users is not None:
            parts["users"] = self.users.state()
        components = _components(self)
        parts |= {f"components/{name}": component.state() for name, component in components.items()}
        structure = {
            "stages": [stage.outline() for stage in self.stages],
            "policies": [policy.name for policy in self.policies],
            "fallback": self.fallback.name,
            "components": {name: component.component for name, component in components.items()},
            "counts": self._counts(),
            "about": dict(self.about or {}),
        }
        return write_bundle(Path(path), structure, parts, model_card(structure, parts))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Load a bundle, after verifying every file in it.

        Arrays stay in the bundle's files and are read from there when they are needed. Saving over the bundle, or
        putting another in its place, is safe (on Windows: refused while it is loaded); do not write into its files.

        Raises:
            BundleError: it is missing, damaged or too new.
            ConfigError: it uses a component that is not installed here.
        """
        return cls.of_bundle(open_bundle(Path(path)))

    @classmethod
    def of_bundle(cls, opened: OpenedBundle) -> Self:
        """Load a bundle that was opened; see `load`."""
        structure = opened.structure
        components = {name: find_component(kind) for name, kind in structure["components"].items()}
        parts = opened.parts()
        catalog = Catalog.from_state(parts["catalog"])
        loaded = {name: kind.load(name, parts[f"components/{name}"], catalog) for name, kind in components.items()}
        return cls(
            catalog=catalog,
            stages=tuple(Stage.from_outline(outline, loaded) for outline in structure["stages"]),
            policies=tuple(loaded[name] for name in structure["policies"]),
            fallback=loaded[structure["fallback"]],
            histories=Interactions.from_state(parts["histories"]) if "histories" in parts else None,
            users=Users.from_state(parts["users"]) if "users" in parts else None,
            about=structure["about"],
        )

    def prepare(self, queries: Queries) -> Queries:
        """Return queries as all policies prepare them: what stages rank."""
        return reduce(lambda q, policy: policy.prepare(q), self.policies, queries)

    def finish(self, prepared: Queries, stages: Sequence[StageTrace], k: int) -> Ranking:
        """Return the k best items per query, after the policies, of what stages ranked.

        Args:
            prepared: n queries, as `prepare` left them.
            stages: what the first stages did, one at least, in order; those that are left out have no say.
            k: list length, >= 1.
        """
        proposed = [trace.ranking for trace in reversed(stages)]

        def lists(rows: Int64Array, width: int) -> Ranking:
            asked = [Ranking(ranking.items[rows], ranking.scores[rows]) for ranking in proposed]
            return self._fill(prepared.take(rows), complete(asked, width), width)

        return finish(self.policies, prepared, k, len(self.catalog), lists)

    def _run(
        self, queries: Queries, k: int, columns: Callable[[Stage, Queries, Candidates | None], Candidates]
    ) -> tuple[Queries, tuple[StageTrace, ...], Ranking]:
        """The queries as the policies prepared them, what each stage did, and the final lists."""
        check_count(k)
        prepared = self.prepare(queries)
        traces: list[StageTrace] = []
        for stage in self.stages:
            kept = traces[-1].survivors if traces else None
            traces.append(stage.rank(prepared, columns(stage, prepared, kept), self.catalog.tie_order))
        return prepared, tuple(traces), self.finish(prepared, traces, k)

    def _over(self, catalog: Catalog, items: Sequence[Item]) -> Self:
        """The same cascade over a catalog that was changed by these items."""
        rows = self.catalog.items.get([item.id for item in items])
        changed = np.sort(rows[rows >= 0])
        done: dict[int, Any] = {}

        def change(component: Any) -> Any:
            if id(component) not in done:
                holds = isinstance(component, HoldsItems)
                done[id(component)] = component.with_items(catalog, changed) if holds else component
            return done[id(component)]

        stages = tuple(stage.replaced(change) for stage in self.stages)
        policies = tuple(change(policy) for policy in self.policies)
        return replace(self, catalog=catalog, stages=stages, policies=policies, fallback=change(self.fallback))

    def _fill(self, queries: Queries, ranking: Ranking, k: int) -> Ranking:
        """Complete lists shorter than k from the fallback retriever, and in the last resort with any items."""
        width = k - ranking.items.shape[1]
        items = np.pad(ranking.items, ((0, 0), (0, width)), constant_values=-1)
        scores = np.pad(ranking.scores, ((0, 0), (0, width)))
        for source in (self.fallback.retrieve, self._anything):
            short = np.flatnonzero((items < 0).any(axis=1))
            if len(short) == 0:
                break
            more = source(queries.take(short), k)
            # the fallback's scores live on another scale: only their order counts below the stages' lists
            below = Ranking(more.items, np.full_like(more.scores, -1.0))
            done = complete([Ranking(items[short], scores[short]), below], k)
            items[short], scores[short] = done.items, done.scores
        return Ranking(items, scores)

    def _anything(self, queries: Queries, k: int) -> Ranking:
        """Items that may be shown, in hash order: for what not even the fallback can rank."""
        n_items = len(self.catalog)

        def nothing(batch: Queries) -> Float32Array:
            return np.zeros((len(batch), n_items), dtype=np.float32)

        return best_in_blocks(AllScores.of(nothing, queries, self.catalog.active, self.catalog.tie_order), k)

    def _batches(self, n: int) -> Iterator[Any]:
        depth = sum(depth for stage in self.stages for _, depth in stage.retrievers)
        return blocks(n, 8 * max(1, depth))

    def _counts(self) -> dict[str, int]:
        """How much of what the bundle holds, for its card."""
        counts = {"items": len(self.catalog), "removed items": int((~self.catalog.active).sum())}
        if self.histories is not None:
            counts |= {"users": self.histories.n_users, "interactions": len(self.histories)}
        if self.users is not None:
            counts["profiles"] = len(self.users)
        return counts


def _components(recommender: Recommender) -> dict[str, Saves]:
    """Every component by name; one that stands in two places is saved once."""
    found: dict[str, Any] = {}
    everything: list[Any] = [recommender.fallback, *recommender.policies]
    for stage in recommender.stages:
        everything += stage.components
    for component in everything:
        if found.setdefault(component.name, component) is not component:
            raise ConfigError(f"two components are called {component.name!r}; give each its own name")
    return found
