"""Items and users as text, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from llmrec.errors import TemplateError
from llmrec.text._clean import clean_values
from llmrec.text._cut import longest_starts
from llmrec.text._jinja import compile_part
from llmrec.text._values import contexts, entry_values, item_values, user_values
from llmrec.text.template import PARTS, PartScope, Template
from llmrec.types import BoolArray, Int32Array, Int64Array, Queries

if TYPE_CHECKING:
    from llmrec.data import Catalog

__all__ = [
    "RenderedUsers",
    "TokenCounter",
    "render_evidence",
    "render_items",
    "render_question",
    "render_system",
    "render_users",
]

# Stands for an entry when the tokens around the entries are counted. Fixed, so that a user's text never
# depends on who else is in the batch.
_PROBE = "probe"


class TokenCounter(Protocol):
    """Whatever knows how many tokens a text has: a TextEncoder or a PairScorer."""

    def count_tokens(self, texts: Sequence[str]) -> Int32Array:
        """Int32[n]: tokens of each text, without special tokens."""
        ...


@dataclass(frozen=True, slots=True)
class RenderedUsers:
    """User texts and what did not fit into them.

    Attributes:
        texts: n texts, none longer than the budget.
        kept: Int32[n], history items in the text, the newest ones.
        truncated: Int32[n], history items left out because the budget was spent.
        shortened: Bool[n], True where the wish, or the only entry, was itself cut to fit.
    """

    texts: list[str]
    kept: Int32Array
    truncated: Int32Array
    shortened: BoolArray


def render_items(template: Template, catalog: Catalog, rows: Int32Array | None = None, part: str = "text") -> list[str]:
    """Write items as text.

    Args:
        template: any template with an item part of that name.
        catalog: where the fields are.
        rows: Int32[n], catalog rows; all rows, removed items too, if None.
        part: "text" of an item template, "entry" of a user or pair template (as of an interaction of which no
            more is known than its item), "item" of a pair template.

    Returns:
        n texts.

    Raises:
        TemplateError: the part is no item part, a required field is missing or empty, or rendering fails.
    """
    _check_part(template, part, "item")
    columns = item_values(template, catalog, rows)
    blank = [""] * (len(catalog) if rows is None else len(rows))
    if part == "entry":
        columns |= dict.fromkeys(template.fields_of("interaction"), blank)
    return _render(template, part, contexts(columns, len(blank)))


def render_users(
    template: Template,
    catalog: Catalog,
    queries: Queries,
    budget: int,
    counter: TokenCounter,
    part: str = "text",
) -> RenderedUsers:
    """Write users as text: the newest items of each history that fit into a token budget.

    The tokens around the entries (profile, wish, labels, separators) count. Each distinct entry is rendered and
    counted once for the whole batch, and every text is counted whole in the end, because the tokens of a text
    need not be the sum of its parts'. A wish that alone is over the budget is cut after a word (an ideograph,
    where there are no spaces), and so is the newest entry where not even that one fits. Where nothing else would
    be left, the cut is within the first word.

    Args:
        template: a user or pair template.
        catalog: where the items of the histories are.
        queries: n queries; of an interaction, a template may read rating, kind and weight.
        budget: tokens a text may have, without special tokens; such as `TextEncoder.text_budget`.
        counter: counts tokens as the model will.
        part: "text" of a user template, "user" of a pair template.

    Raises:
        TemplateError: the part is no user part, a required field is missing or empty, the text without wish and
            history is over the budget, or rendering fails.
    """
    _check_part(template, part, "user")
    columns, places = entry_values(template, catalog, queries)
    entries = _render(template, "entry", contexts(columns, int(places.max(initial=-1)) + 1))
    people = list(contexts(user_values(template, queries), len(queries)))
    return _Work(template, part, budget, counter, queries.offsets, places, entries, people).fit()


def render_system(template: Template) -> str:
    """What a chat or explain template tells the model before anybody speaks.

    Raises:
        TemplateError: it is of another kind.
    """
    _check_part(template, "system", PARTS[template.kind].get("system", "user"))
    return _render(template, "system", [{}])[0]


def render_evidence(template: Template, evidence: Sequence[Mapping[str, Any]], part: str = "text") -> list[str]:
    """Write reasons as sentences, one line each.

    Args:
        template: an explain template.
        evidence: n times what `Template` says that such a part can read.
        part: "text", or "ask".

    Raises:
        TemplateError: the template is of another kind, or rendering fails.
    """
    _check_part(template, part, "evidence")
    return clean_values(_render(template, part, (dict(values) for values in evidence)))


def render_question(template: Template) -> str:
    """What a chat template asks once the items are shown; "" of one that asks nothing there.

    Raises:
        TemplateError: it is no chat template.
    """
    _check_part(template, "system", "user")
    return _render(template, "question", [{}])[0] if "question" in template.parts else ""


@dataclass(frozen=True, slots=True)
class _Work:
    """One call of `render_users`: the histories as places in the list of distinct entries."""

    template: Template
    part: str
    budget: int
    counter: TokenCounter
    offsets: Int64Array
    places: Int64Array
    entries: list[str]
    people: list[dict[str, str]]

    def fit(self) -> RenderedUsers:
        lengths = np.diff(self.offsets)
        shortened = self._cut_wishes()
        kept = self._estimate()
        texts = self._texts(range(len(lengths)), kept)
        over = np.flatnonzero(self.counter.count_tokens(texts) > self.budget)
        while len(over):
            kept[over] -= 1
            for row, text in zip(over, self._texts(over, kept), strict=True):
                texts[row] = text
            counts = self.counter.count_tokens([texts[row] for row in over])
            over = over[(counts > self.budget) & (kept[over] > 0)]
        for place, text in self._cut_entries(np.flatnonzero((kept == 0) & (lengths > 0))):
            texts[place], kept[place], shortened[place] = text, 1, True
        truncated = (lengths - kept).astype(np.int32)
        return RenderedUsers(texts, kept.astype(np.int32), truncated, shortened)

    def _texts(self, rows: Iterable[int], kept: Int64Array) -> list[str]:
        """Render some queries with their newest `kept[row]` entries."""
        return self._render({**self.people[row], "history": self._newest(row, int(kept[row]))} for row in rows)

    def _newest(self, row: int, count: int) -> list[str]:
        end = int(self.offsets[row + 1])
        return [self.entries[place] for place in self.places[end - count : end][::-1].tolist()]

    def _render(self, contexts: Iterable[dict[str, Any]]) -> list[str]:
        return _render(self.template, self.part, contexts)

    def _count(self, contexts: Iterable[dict[str, Any]]) -> Int64Array:
        return self.counter.count_tokens(self._render(contexts)).astype(np.int64)

    def _frames(self, history: list[str]) -> Int64Array:
        """Int64[n]: tokens of each query's text with one made-up history; counted once for equal people."""
        known: dict[tuple[str, ...], int] = {}
        rows = [known.setdefault(tuple(person.values()), len(known)) for person in self.people]
        names = list(self.people[0]) if self.people else []
        counts = self._count({**dict(zip(names, values, strict=True)), "history": history} for values in known)
        return counts[np.asarray(rows, dtype=np.int64)]

    def _estimate(self) -> Int64Array:
        """Int64[n]: how many entries fit if the tokens of a text are the sum of its parts'."""
        probe = int(self.counter.count_tokens([_PROBE])[0])
        blank = dict.fromkeys((*self.template.fields_of("user"), "wish"), "")
        one, two = self._count({**blank, "history": [_PROBE] * times} for times in (1, 2))
        separator = max(0, int(two - one) - probe)
        room = self.budget - (self._frames([_PROBE]) - probe) + separator
        costs = self.counter.count_tokens(self.entries).astype(np.int64) + separator
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(costs[self.places])])
        lengths = np.diff(self.offsets)
        owner = np.repeat(np.arange(len(lengths)), lengths)
        from_newest = ends[self.offsets[1:]][owner] - ends[:-1]
        return np.bincount(owner[from_newest <= room[owner]], minlength=len(lengths)).astype(np.int64)

    def _cut_wishes(self) -> BoolArray:
        """Shorten, in place, the wishes that are over the budget on their own."""
        frames = self._frames([])
        over = np.flatnonzero(frames > self.budget)
        wishes = [self.people[row]["wish"] for row in over]

        def render(which: int, wish: str) -> dict[str, Any]:
            return {**self.people[over[which]], "wish": wish, "history": []}

        cut = self._longest(wishes, render, [True] * len(over))
        for row, wish in zip(over, cut, strict=True):
            self.people[row]["wish"] = wish
        if len(over) and (still := self._frames([]).max()) > self.budget:
            raise TemplateError(
                f"template {self.template.name}, part {self.part!r}, takes {still} tokens without wish and "
                f"history, but the budget is {self.budget}; raise max_tokens or use a shorter template"
            )
        shortened = np.zeros(len(self.people), np.bool_)
        shortened[over] = True
        return shortened

    def _cut_entries(self, rows: Int64Array) -> list[tuple[int, str]]:
        """For queries where no entry fits: their texts with as many words of the newest entry as do fit."""
        entries = [self._newest(row, 1)[0] for row in rows]

        def render(which: int, entry: str) -> dict[str, Any]:
            return {**self.people[rows[which]], "history": [entry]}

        # The stump of a word says something only where nothing else is known of the user.
        nobody = [not any(self.people[row].values()) for row in rows]
        cut = self._longest(entries, render, nobody)
        some = [which for which, entry in enumerate(cut) if entry]
        texts = self._render(render(which, cut[which]) for which in some)
        return [(int(rows[which]), text) for which, text in zip(some, texts, strict=True)]

    def _longest(
        self, texts: list[str], render: Callable[[int, str], dict[str, Any]], within_words: list[bool]
    ) -> list[str]:
        """Find for each text its longest start with which the user's text is within the budget."""

        def fits(asked: Sequence[tuple[int, str]]) -> BoolArray:
            return self._count(render(which, start) for which, start in asked) <= self.budget

        return longest_starts(texts, fits, within_words)


def _check_part(template: Template, part: str, scope: PartScope) -> None:
    parts = [name for name, of in PARTS[template.kind].items() if of == scope]
    if part not in parts:
        raise TemplateError(
            f"template {template.name} (kind {template.kind!r}) has no {scope} part {part!r}; "
            f"it has: {', '.join(parts) or 'none'}"
        )


def _render(template: Template, part: str, contexts: Iterable[dict[str, Any]]) -> list[str]:
    try:
        return compile_part(template.parts[part])(contexts)
    except TemplateError as error:
        raise TemplateError(f"template {template.name}, part {part!r}, cannot be rendered: {error}") from error
