"""The cascade: stages of retrievers, scorers and a fusion, then policies. All of `recommend` is here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from llmrec.bundle import read_bundle, write_bundle
from llmrec.component import HoldsItems, Saves, find_component
from llmrec.data import Catalog, Interactions, check_count, check_list, check_lists
from llmrec.errors import ConfigError, DataError
from llmrec.policy import Policy
from llmrec.retrieve.base import Retriever, blocks, retrieve_dense_scores, stack
from llmrec.retrieve.merge import complete
from llmrec.stage import Stage, StageTrace, Trace
from llmrec.types import BoolArray, Candidates, Csr, Int32Array, Item, Queries, Ranking, Recommendation

__all__ = ["Recommender", "Searches", "load"]


@runtime_checkable
class Searches(Retriever, Protocol):
    """A retriever that understands text: it compares items with items, and free-text wishes with items."""

    def similar(self, rows: Int32Array, k: int) -> Ranking:
        """Return the k items nearest to each given one."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Recommender:
    """A cascade over a catalog. The same object is fitted, measured, saved and served.

    Attributes:
        catalog: all items.
        stages: the cascade, in order.
        policies: final rules.
        fallback: fills a list the stages leave short; it must be able to rank the whole catalog.
        histories: what known users did, so that they can be asked for by id; or None.
        about: where it comes from: configuration, data fingerprint, what was held out; JSON values.
    """

    catalog: Catalog
    stages: tuple[Stage, ...]
    policies: tuple[Policy, ...]
    fallback: Retriever
    histories: Interactions | None = None
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
        parts = [self._run(batch, k, Stage.needed_columns).ranking for batch in batches]
        return stack(parts, min(k, len(self.catalog)))

    def trace(self, queries: Queries, k: int) -> Trace:
        """Recommend, and show how: who proposed what, every score, what each stage kept.

        All queries are run as one batch: ask for a few at a time.
        """
        return self._run(queries, k, Stage.columns)

    def similar(self, item_ids: Sequence[str], k: int) -> Ranking:
        """Return the k items whose text is nearest to each given item's.

        Raises:
            UnknownIdError: an id is not in the catalog.
            DataError: one string was given for a list.
            ConfigError: no retriever of this recommender knows items by text, or k is not a whole number >= 1.
        """
        check_count(k)
        check_list(item_ids, "item_ids")
        return self._searcher().similar(self.catalog.items.rows(item_ids), k)

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
        return self._searcher().retrieve(self.queries(wishes=texts), k)

    def add_items(self, items: Sequence[Item]) -> Self:
        """Return a recommender that also recommends these items, without any training.

        Args:
            items: new ids with text fields named as the catalog's columns.

        Raises:
            DataError: an id is already there, or a field is unknown.
        """
        return self._over(self.catalog.with_items(items))

    def remove_items(self, item_ids: Sequence[str]) -> Self:
        """Return a recommender that no longer recommends these items; histories that hold them still count.

        Raises:
            UnknownIdError: an id is not in the catalog.
        """
        return self._over(self.catalog.without_items(item_ids))

    def queries(
        self,
        users: Sequence[str] | None = None,
        *,
        histories: Sequence[Sequence[str]] | None = None,
        wishes: Sequence[str | None] | None = None,
        profiles: Mapping[str, Sequence[Any]] | None = None,
        exclude: Sequence[Sequence[str]] | None = None,
        allow: Sequence[str] | None = None,
    ) -> Queries:
        """Turn ids into a batch of queries; the one place where a request's ids become rows.

        Args:
            users: known users; their stored histories are used.
            histories: item ids per query, oldest first; instead of `users`.
            wishes: a free text per query ("a slow western"), or None.
            profiles: user fields by name, one value per query, for templates that show them; see `Users.profiles`.
            exclude: item ids per query that must not come back.
            allow: only these items may come back, for every query.

        Raises:
            UnknownIdError: a user or item is not known.
            DataError: there are neither users, histories nor wishes, the arguments differ in length, or one string
                was given for a list.
        """
        _check_lists(users, histories, wishes, exclude, allow)
        parts = (users, histories, wishes, exclude, *(profiles or {}).values())
        sizes = {len(part) for part in parts if part is not None}
        asked = [part for part in (users, histories, wishes) if part is not None]
        if not asked or len(sizes) != 1 or (users is not None and histories is not None):
            raise DataError(
                "give users or histories, wishes, or both, all of the same length; [[]] is one empty history"
            )
        if wishes is not None and any(w is not None and not w.strip() for w in wishes):
            raise DataError("a wish is empty; leave it out or use None")
        if users is not None:
            base = self._stored().queries(self._stored().users.rows(users).astype(np.int64))
        else:
            past = [[]] * sizes.pop() if histories is None else histories
            rows = [self.catalog.items.rows(ids).tolist() for ids in past]
            base = Queries.from_lists(rows)
        banned = None if exclude is None else Csr.from_lists([self.catalog.items.rows(e).tolist() for e in exclude])
        allowed = None if allow is None else self._mask(allow)
        return replace(base, texts=wishes, profiles=profiles, exclude=banned, allow=allowed)

    def decode(self, ranking: Ranking) -> list[list[Recommendation]]:
        """Turn rows back into ids: one list of recommendations per query."""
        ids = self.catalog.items
        return [
            [
                Recommendation(ids[int(item)], place + 1, float(score))
                for place, (item, score) in enumerate(zip(items, scores, strict=True))
                if item >= 0
            ]
            for items, scores in zip(ranking.items, ranking.scores, strict=True)
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
        components = _components(self)
        parts |= {f"components/{name}": component.state() for name, component in components.items()}
        structure = {
            "stages": [_outline(stage) for stage in self.stages],
            "policies": [policy.name for policy in self.policies],
            "fallback": self.fallback.name,
            "components": {name: component.component for name, component in components.items()},
            "about": dict(self.about or {}),
        }
        return write_bundle(Path(path), structure, parts)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Load a bundle, after verifying every file in it.

        Raises:
            BundleError: it is missing, damaged or too new.
            ConfigError: it uses a component that is not installed here.
        """
        structure, parts = read_bundle(Path(path))
        catalog = Catalog.from_state(parts["catalog"])
        loaded = {
            name: find_component(component).load(name, parts[f"components/{name}"], catalog)
            for name, component in structure["components"].items()
        }
        stages = tuple(
            Stage(
                name=outline["name"],
                retrievers=tuple((loaded[name], depth) for name, depth in outline["retrievers"]),
                scorers=tuple(loaded[name] for name in outline["scorers"]),
                fusion=loaded[outline["fusion"]],
                keep=outline["keep"],
            )
            for outline in structure["stages"]
        )
        return cls(
            catalog=catalog,
            stages=stages,
            policies=tuple(loaded[name] for name in structure["policies"]),
            fallback=loaded[structure["fallback"]],
            histories=Interactions.from_state(parts["histories"]) if "histories" in parts else None,
            about=structure["about"],
        )

    def _run(
        self, queries: Queries, k: int, columns: Callable[[Stage, Queries, Candidates | None], Candidates]
    ) -> Trace:
        check_count(k)
        prepared = reduce(lambda q, policy: policy.prepare(q), self.policies, queries)
        traces: list[StageTrace] = []
        kept: Candidates | None = None
        for stage in self.stages:
            ranked = stage.rank(prepared, columns(stage, prepared, kept), self.catalog.tie_order)
            traces.append(StageTrace(stage.name, ranked, stage.keep))
            kept = traces[-1].survivors
        width = min(k, len(self.catalog))
        proposed = complete([t.ranking for t in reversed(traces)], width)
        filled = self._fill(prepared, proposed, width)
        from_fallback = np.arange(filled.items.shape[1]) >= (proposed.items >= 0).sum(axis=1, keepdims=True)
        final = reduce(lambda r, policy: policy.apply(prepared, r, k), self.policies, filled)
        return Trace(prepared, tuple(traces), final, from_fallback & (filled.items >= 0))

    def _over(self, catalog: Catalog) -> Self:
        """The same cascade over a catalog that has grown or has lost items."""
        grown: dict[int, Any] = {}

        def grow(component: Any) -> Any:
            if id(component) not in grown:
                grown[id(component)] = component.with_items(catalog) if isinstance(component, HoldsItems) else component
            return grown[id(component)]

        stages = tuple(
            replace(
                stage,
                retrievers=tuple((grow(r), depth) for r, depth in stage.retrievers),
                scorers=tuple(grow(s) for s in stage.scorers),
                fusion=grow(stage.fusion),
            )
            for stage in self.stages
        )
        policies = tuple(grow(p) for p in self.policies)
        return replace(self, catalog=catalog, stages=stages, policies=policies, fallback=grow(self.fallback))

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
        return retrieve_dense_scores(
            lambda batch: np.zeros((len(batch), n_items), dtype=np.float32),
            queries,
            k,
            self.catalog.active,
            self.catalog.tie_order,
        )

    def _batches(self, n: int) -> Iterator[Any]:
        depth = sum(depth for stage in self.stages for _, depth in stage.retrievers)
        return blocks(n, 16 * max(1, depth))

    def _searcher(self) -> Searches:
        for stage in self.stages:
            for retriever, _ in stage.retrievers:
                if isinstance(retriever, Searches):
                    return retriever
        raise ConfigError("no retriever of this recommender knows items by text; add a dense retriever to a stage")

    def _stored(self) -> Interactions:
        if self.histories is None:
            raise DataError("this recommender stores no users; pass histories instead of user ids")
        return self.histories

    def _mask(self, item_ids: Sequence[str]) -> BoolArray:
        mask = np.zeros(len(self.catalog), dtype=np.bool_)
        mask[self.catalog.items.rows(item_ids)] = True
        return mask


def _components(recommender: Recommender) -> dict[str, Saves]:
    """Every component by name; one that stands in two places is saved once."""
    found: dict[str, Any] = {}
    everything: list[Any] = [recommender.fallback, *recommender.policies]
    for stage in recommender.stages:
        everything += [*(r for r, _ in stage.retrievers), *stage.scorers, stage.fusion]
    for component in everything:
        if found.setdefault(component.name, component) is not component:
            raise ConfigError(f"two components are called {component.name!r}; give each its own name")
    return found


def _check_lists(users: Any, histories: Any, wishes: Any, exclude: Any, allow: Any) -> None:
    """Raise DataError for a string, or anything else, where a list is meant."""
    check_list(users, "users")
    check_list(wishes, "wishes", "texts")
    check_list(allow, "allow")
    check_lists(histories, "histories")
    check_lists(exclude, "exclude")


def _outline(stage: Stage) -> dict[str, Any]:
    return {
        "name": stage.name,
        "retrievers": [[retriever.name, depth] for retriever, depth in stage.retrievers],
        "scorers": [scorer.name for scorer in stage.scorers],
        "fusion": stage.fusion.name,
        "keep": stage.keep,
    }


def load(path: str | Path) -> Recommender:
    """Load a recommender from a bundle; see `Recommender.load`."""
    return Recommender.load(path)
