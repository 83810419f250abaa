"""Items and users as text, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from llmrec.errors import TemplateError
from llmrec.text._clean import clean_values
from llmrec.text._jinja import compile_part
from llmrec.text.template import PARTS, Scope, Template
from llmrec.types import BoolArray, Int32Array, Int64Array, Queries

if TYPE_CHECKING:
    from llmrec.data import Catalog

__all__ = ["RenderedUsers", "TokenCounter", "render_items", "render_users"]

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
        part: "text" of an item template, "entry" of a user or pair template, "item" of a pair template.

    Returns:
        n texts.

    Raises:
        TemplateError: the part is no item part, a required field is missing or empty, or rendering fails.
    """
    _check_part(template, part, "item")
    fields = template.fields_of("item")
    missing = [name for name, field in fields.items() if field.required and name not in catalog.columns]
    if missing:
        raise TemplateError(
            f"template {template.name} requires the field {missing[0]!r}, but the catalog has only: "
            f"{', '.join(catalog.columns)}. Rename a column when the catalog is read, or choose another template"
        )
    present = [name for name in fields if name in catalog.columns]
    table = catalog.table.select(present)
    if rows is not None:
        table = table.take(np.asarray(rows, dtype=np.int64))
    count = len(catalog) if rows is None else len(rows)
    columns = {name: clean_values(table.column(name).to_pylist()) for name in present}
    for name in present:
        if fields[name].required and "" in columns[name]:
            _raise_empty(template, catalog, rows, name, columns[name])
    blank = dict.fromkeys(fields.keys() - columns.keys(), "")
    if not columns:
        return _render(template, part, (blank for _ in range(count)))
    records = zip(*columns.values(), strict=True)
    return _render(template, part, (dict(zip(columns, record, strict=True)) | blank for record in records))


def _raise_empty(template: Template, catalog: Catalog, rows: Int32Array | None, name: str, values: list[str]) -> None:
    places = [place for place, value in enumerate(values) if not value]
    first = catalog.items[int(places[0] if rows is None else rows[places[0]])]
    raise TemplateError(
        f"template {template.name} requires {name!r}, but {len(places)} of {len(values)} items have none, such "
        f"as item {first!r}. Fill it in, or use a template where {name!r} is not required"
    )


def render_users(
    template: Template,
    catalog: Catalog,
    queries: Queries,
    budget: int,
    counter: TokenCounter,
    part: str = "text",
) -> RenderedUsers:
    """Write users as text: the newest items of each history that fit into a token budget.

    The tokens around the entries (profile, wish, labels, separators) count. Each entry is rendered and counted
    once for the whole batch, and every text is counted whole in the end, because the tokens of a text
    need not be the sum of its parts'. A wish that alone is over the budget is cut after a word, and so is
    the newest entry where not even that one fits.

    Args:
        template: a user or pair template.
        catalog: where the items of the histories are.
        queries: n queries.
        budget: tokens a text may have, without special tokens; such as `TextEncoder.text_budget`.
        counter: counts tokens as the model will.
        part: "text" of a user template, "user" of a pair template.

    Raises:
        TemplateError: the part is no user part, a required field is missing, the text without wish and
            history is over the budget, or rendering fails.
    """
    _check_part(template, part, "user")
    unique, places = np.unique(queries.items, return_inverse=True)
    entries = render_items(template, catalog, unique.astype(np.int32), "entry")
    work = _Work(template, part, budget, counter, queries.offsets, places, entries, _people(template, queries))
    return work.fit()


def _people(template: Template, queries: Queries) -> list[dict[str, str]]:
    """The values of each query beside its history: profile fields and wish."""
    n, profiles = len(queries), queries.profiles or {}
    columns = {}
    for name, field in template.fields_of("user").items():
        values = clean_values(profiles[name]) if name in profiles else [""] * n
        if field.required and "" in values:
            raise TemplateError(
                f"template {template.name} requires the profile field {name!r}, but query {values.index('')} has "
                f"none; the profiles have: {', '.join(profiles) or 'nothing'}"
            )
        columns[name] = values
    columns["wish"] = [""] * n if queries.texts is None else clean_values(queries.texts)
    return [dict(zip(columns, record, strict=True)) for record in zip(*columns.values(), strict=True)]


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
        words = [self.people[row]["wish"].split(" ") for row in over]

        def render(which: int, wish: str) -> dict[str, Any]:
            return {**self.people[over[which]], "wish": wish, "history": []}

        for row, wish in zip(over, self._longest(words, render), strict=True):
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
        words = [self._newest(row, 1)[0].split(" ") for row in rows]

        def render(which: int, entry: str) -> dict[str, Any]:
            return {**self.people[rows[which]], "history": [entry]}

        cut = self._longest(words, render)
        some = [which for which, entry in enumerate(cut) if entry]
        texts = self._render(render(which, cut[which]) for which in some)
        return [(int(rows[which]), text) for which, text in zip(some, texts, strict=True)]

    def _longest(self, words: list[list[str]], render: Callable[[int, str], dict[str, Any]]) -> list[str]:
        """Find for each list of words its longest start with which the text fits, by bisection."""
        low, high = np.zeros(len(words), np.int64), np.array([len(w) for w in words], np.int64)
        while len(open_rows := np.flatnonzero(low < high)):
            middle = (low + high + 1)[open_rows] // 2
            cut = [(r, " ".join(words[r][:m])) for r, m in zip(open_rows, middle, strict=True)]
            fits = self._count(render(int(which), text) for which, text in cut) <= self.budget
            low[open_rows] = np.where(fits, middle, low[open_rows])
            high[open_rows] = np.where(fits, high[open_rows], middle - 1)
        return [" ".join(w[:count]) for w, count in zip(words, low, strict=True)]


def _check_part(template: Template, part: str, scope: Scope) -> None:
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
