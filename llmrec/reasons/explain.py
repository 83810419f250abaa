"""Explanations from counterfactual evidence: what is known is taken away, and the ranking made again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from llmrec.data import Catalog, check_count, check_list, check_lists
from llmrec.errors import ConfigError, DataError, TemplateError
from llmrec.policy import Inserts, Policy
from llmrec.reasons.evidence import Evidence, Measured, measure, profile_evidence, standings
from llmrec.reasons.explanation import Explanation, Reason
from llmrec.reasons.fixed import FixedCandidates
from llmrec.reasons.phrase import phrased
from llmrec.retrieve.base import Retriever, is_excluded
from llmrec.stage import Stage
from llmrec.text import Template, load_template, render_evidence, render_items
from llmrec.types import Item, Queries, Ranking

if TYPE_CHECKING:
    from llmrec.models import LanguageModel

__all__ = ["Asked", "Cascade", "explain"]

MATTERS = 0.01
"""By so much, in log2 of the rank, must an item that keeps its place fall for that to be a reason."""

WORTH = 0.25
"""A reason counts at least so much of what the strongest one counts."""


class Cascade(Protocol):
    """What is needed of a recommender."""

    @property
    def catalog(self) -> Catalog:
        """All items."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The cascade, in order."""

    @property
    def policies(self) -> tuple[Policy, ...]:
        """Final rules."""

    @property
    def fallback(self) -> Retriever:
        """Ranks the whole catalog for somebody of whom nothing is known."""

    def recommend(self, queries: Queries, k: int) -> Ranking:
        """Return the k best items per query."""

    def change_items(self, items: Sequence[Item]) -> Self:
        """Return a recommender that knows these items by other fields."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What explanations are wanted.

    Attributes:
        items: ids per query; None: the k best ones.
        k: how many of a query's best items, where `items` is None.
        reasons: at most so many pieces of evidence are named.
        fields: fields of the explained item to take away, beside what is known of the user.
        template: of kind "explain".
        phrase_with: a language model that says it in its own words; None: the template's sentence.
    """

    items: Sequence[Sequence[str]] | None = None
    k: int = 1
    reasons: int = 3
    fields: Sequence[str] = ()
    template: str = "explain/because"
    phrase_with: LanguageModel | None = None


@dataclass(frozen=True, slots=True)
class _Found:
    """One item's evidence, and what follows from it."""

    row: int
    measured: Measured
    reasons: tuple[Reason, ...]


def explain(cascade: Cascade, queries: Queries, asked: Asked) -> list[list[Explanation]]:
    """Explain why items are recommended; see `Recommender.explain`."""
    template = _check(cascade.catalog, asked)
    rows = _rows(cascade, queries, asked)
    everything: list[list[_Found]] = []
    for place, items in enumerate(rows):
        one = reduce(lambda query, policy: policy.prepare(query), cascade.policies, queries.take(np.array([place])))
        _check_allowed(cascade.catalog, one, items, place)
        everything.append(_One(cascade, one, asked).found(items))
    wishes = [""] * len(rows) if queries.texts is None else [text or "" for text in queries.texts]
    flat = [found for own in everything for found in own]
    texts = [wish for wish, own in zip(wishes, everything, strict=True) for _ in own]
    said = iter(_told(cascade.catalog, template, flat, texts, asked.phrase_with))
    return [[next(said) for _ in own] for own in everything]


@dataclass(frozen=True, slots=True)
class _One:
    """One query, as the policies prepared it."""

    cascade: Cascade
    query: Queries
    asked: Asked

    def found(self, items: Sequence[int]) -> list[_Found]:
        """What brings each of some items where it stands; whatever else is asked about."""
        fixed = FixedCandidates.of(self.cascade.stages, self.query, self.cascade.catalog.tie_order)
        inside = [item for item in items if item in fixed]
        done = dict(zip(inside, self._measured(fixed, inside), strict=True)) if inside else {}
        for item in items:
            if item not in done:  # nobody proposed it: it stands among the others, and changes where these stand
                (done[item],) = self._measured(fixed.with_item(item), [item])
        return [done[item] for item in items]

    def _measured(self, fixed: FixedCandidates, items: Sequence[int]) -> list[_Found]:
        profile = profile_evidence(fixed, self.query, items)
        found = []
        for item, measured, more in zip(items, measure(fixed, self.query, items), profile, strict=True):
            evidence = (*measured.evidence, *more, *self._fields(fixed, item))
            whole = replace(measured, evidence=evidence)
            found.append(_Found(item, whole, tuple(self._reasons(fixed, item, whole))))
        return found

    def _fields(self, fixed: FixedCandidates, item: int) -> list[Evidence]:
        """The item without each of its fields, the candidates as they are."""
        (record,) = self.cascade.catalog.records(np.array([item], dtype=np.int32))
        found = []
        for name in self.asked.fields:
            if record[name] is None:
                continue
            try:
                changed = self.cascade.change_items([Item(record["item_id"], {name: None})])
            except TemplateError as error:
                raise TemplateError(
                    f"the field {name!r} cannot be taken away from an item, so it cannot be a reason: {error}"
                ) from error
            (without,) = standings(fixed.rank(self.query, changed.stages), item)
            found.append(Evidence("field", -1, name, without))
        return found

    def _reasons(self, fixed: FixedCandidates, item: int, measured: Measured) -> list[Reason]:
        base, nothing, whole = measured.base, measured.nothing, measured.without_history
        if self._inserted(item):
            return [Reason("rule", None, None, base.rank, base.score, 0.0)]
        reasons = self._single(measured)
        if not reasons and len(self.query.items) and whole.rank > base.rank:
            reasons.append(Reason("history", None, None, whole.rank, whole.score, 1.0))
        elif nothing.rank <= base.rank and self._is_popular(fixed, item):
            reasons.append(Reason("popular", None, None, nothing.rank, nothing.score, 0.0))
        return reasons[: self.asked.reasons]

    def _single(self, measured: Measured) -> list[Reason]:
        """The pieces of evidence without which the item stands lowest."""
        base = measured.base
        falls = [(one.without.depth - base.depth, one) for one in measured.evidence if one.without.rank >= base.rank]
        falls = sorted([pair for pair in falls if pair[0] > 0], key=lambda pair: -pair[0])
        total = sum(fall for fall, _ in falls)
        chosen = [
            (fall, one)
            for fall, one in falls
            if fall >= WORTH * falls[0][0] and (fall >= MATTERS or one.without.rank > base.rank)
        ]
        ids = self.cascade.catalog.items
        return [
            Reason(
                one.kind,
                ids[one.item] if one.item >= 0 else None,
                one.field or None,
                one.without.rank,
                one.without.score,
                fall / total,
            )
            for fall, one in chosen[: self.asked.reasons]
        ]

    def _inserted(self, item: int) -> bool:
        """Whether a policy puts the item into the list."""
        rules = [policy for policy in self.cascade.policies if isinstance(policy, Inserts)]
        return any(bool((policy.inserted(self.query) == item).any()) for policy in rules)

    def _is_popular(self, fixed: FixedCandidates, item: int) -> bool:
        """Whether the fallback, knowing nothing of the user, scores the item at least as most candidates."""
        nobody = self.query.where(np.zeros(len(self.query.items), dtype=np.bool_))
        asked = np.array([[item]], dtype=np.int32)
        among = np.concatenate([asked, *(found.items for found in fixed.found)], axis=1)
        scores = self.cascade.fallback.score(nobody, among)[0]
        known = scores[~np.isnan(scores)]
        return len(known) > 0 and bool(scores[0] >= np.median(known))


def _told(
    catalog: Catalog, template: Template, found: Sequence[_Found], wishes: Sequence[str], model: LanguageModel | None
) -> list[Explanation]:
    """The reasons in words."""
    rows = {one.row for one in found} | {
        int(catalog.items.rows([reason.item])[0]) for one in found for reason in one.reasons if reason.item is not None
    }
    order = np.array(sorted(rows), dtype=np.int32)
    written = render_items(template, catalog, order, "entry")
    names = {catalog.items[int(row)]: name for row, name in zip(order, written, strict=True)}
    given = [_given(catalog.items[one.row], one.reasons, wish, names) for one, wish in zip(found, wishes, strict=True)]
    sentences = render_evidence(template, given)
    own = [None] * len(found) if model is None else phrased(model, template, catalog, given, sentences)
    return [
        Explanation(
            item=catalog.items[one.row],
            rank=one.measured.base.rank,
            score=one.measured.base.score,
            candidates=one.measured.base.candidates,
            reasons=tuple(one.reasons),
            sentence=sentence if words is None else words,
            phrased=words is not None,
        )
        for one, sentence, words in zip(found, sentences, own, strict=True)
    ]


def _given(item: str, reasons: Sequence[Reason], wish: str, names: Mapping[str, str]) -> dict[str, Any]:
    """What a template can read of the reasons for an item."""
    kinds = {reason.kind for reason in reasons}
    return {
        "item": names[item],
        "history": [names[reason.item] for reason in reasons if reason.item is not None],
        "whole": any(reason.kind == "history" and reason.item is None for reason in reasons),
        "fields": [reason.field for reason in reasons if reason.kind == "field"],
        "wish": wish if "wish" in kinds else "",
        "profile": [reason.field for reason in reasons if reason.kind == "profile"],
        "popular": "popular" in kinds,
        "rule": "rule" in kinds,
    }


def _check(catalog: Catalog, asked: Asked) -> Template:
    """The template, if what is asked for can be answered."""
    check_count(asked.k)
    check_count(asked.reasons, "reasons")
    check_list(asked.fields, "fields", "field names")
    if unknown := [name for name in asked.fields if name not in catalog.columns[1:]]:
        raise ConfigError(f"there is no field {unknown[0]!r}; the catalog has {', '.join(catalog.columns[1:])}")
    template = load_template(asked.template)
    if template.kind != "explain":
        raise ConfigError(f"template {template.name} is of kind {template.kind!r}; reasons need one of kind 'explain'")
    return template


def _rows(cascade: Cascade, queries: Queries, asked: Asked) -> list[list[int]]:
    """The catalog rows to explain, for each query."""
    if asked.items is None:
        return [row[row >= 0].tolist() for row in cascade.recommend(queries, asked.k).items]
    check_lists(asked.items, "items")
    if len(asked.items) != len(queries):
        raise DataError(f"items must have one list of ids per query: {len(asked.items)} lists for {len(queries)}")
    return [cascade.catalog.items.rows(ids).tolist() for ids in asked.items]


def _check_allowed(catalog: Catalog, query: Queries, items: Sequence[int], place: int) -> None:
    """Raise DataError for an item that cannot be recommended to this query at all."""
    rows = np.array([items], dtype=np.int32)
    why = {
        "was removed from the catalog": ~catalog.active[rows],
        "is in the history, or excluded by the request or a policy": is_excluded(rows, query, len(catalog)),
        "is not among the items that the request or a policy allows": np.zeros(rows.shape, np.bool_)
        if query.allow is None
        else ~query.allow[rows],
    }
    for reason, wrong in why.items():
        if wrong.any():
            item = catalog.items[int(rows[wrong][0])]
            raise DataError(f"item {item!r} cannot be recommended in answer to query {place}: it {reason}")
