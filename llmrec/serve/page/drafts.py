"""Templates on the page: those there are, drafts, what they make of real items, and versions that are kept."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.concurrency import run_in_threadpool

from llmrec.errors import LlmrecError, TemplateError
from llmrec.serve.problems import NotFound, Unprocessable

if TYPE_CHECKING:
    from llmrec.lab import Check, Pair
    from llmrec.pipeline import Recommender
    from llmrec.serve.service import Service
    from llmrec.text import Template, TokenCounter
    from llmrec.types import Int32Array, Queries

__all__ = ["Known", "Rendered", "SideBySide", "all_templates", "check", "keep", "known", "parse", "render"]

SPACE = "prompts"
SIGNS = 20_000
SHOW_S, CHECK_S = 5.0, 30.0
"""Seconds that a template may take to be shown, and to be checked: a draft may hold loops in loops."""

SHOWN = 4
CHECKED = 20_000
USERS = 200


@dataclass(frozen=True, slots=True)
class Known:
    """A template that can be chosen.

    Attributes:
        name: its name; of a kept version with "@" and a number at its end.
        template: itself.
        kept: whether it was saved here; False: it comes with llmrec.
        source: TOML.
    """

    name: str
    template: Template
    kept: bool
    source: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """A text that a template makes.

    Attributes:
        part: of the template.
        of: the id of the item or user.
        text: as a model reads it.
        tokens: so many.
        limit: of which so many are read.
    """

    part: str
    of: str
    text: str
    tokens: int
    limit: int


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Two templates.

    Attributes:
        source: lines of a unified diff of their sources.
        pairs: what both make of the same items and users.
        unit: what is counted.
    """

    source: tuple[str, ...]
    pairs: tuple[Pair, ...]
    unit: str


class _Words:
    """Counts words, where a pipeline has no model that reads texts."""

    def count_tokens(self, texts: Sequence[str]) -> Int32Array:
        return np.array([len(text.split()) for text in texts], dtype=np.int32)


@dataclass(frozen=True, slots=True)
class _Ground:
    """What templates are shown on: a pipeline's items and users, and what reads them."""

    recommender: Recommender
    counter: TokenCounter
    unit: str
    limit: int

    @classmethod
    def of(cls, service: Service) -> _Ground:
        recommender = service.models.snapshot("default").recommender
        for stage in recommender.stages:
            for retriever, _ in stage.retrievers:
                reader = getattr(retriever, "encoder", None)
                if reader is not None and hasattr(reader, "text_budget"):
                    return cls(recommender, reader, "tokens", int(reader.text_budget))
        return cls(recommender, _Words(), "words", 128)

    def rows(self, count: int) -> Int32Array:
        """Active items, spread over the catalog."""
        active = np.flatnonzero(self.recommender.catalog.active)
        return np.asarray(active[np.linspace(0, len(active) - 1, min(count, len(active))).astype(int)], dtype=np.int32)

    def users(self, count: int) -> tuple[list[str | None], Queries] | None:
        """Known users with their histories, spread over the log; None where the pipeline holds none."""
        log = self.recommender.histories
        if log is None or not log.n_users:
            return None
        rows = np.unique(np.linspace(0, log.n_users - 1, min(count, log.n_users)).astype(np.int64))
        return list(log.users.decode(rows)), self.recommender.history_queries(log, rows)


async def all_templates(service: Service) -> list[Known]:
    """Those kept here, newest version first, then those that come with llmrec."""

    def look() -> list[Known]:
        kept = []
        for name, value in service.store.values(SPACE).items():
            try:
                kept.append(Known(name, parse(str(value["source"]), name), kept=True, source=str(value["source"])))
            except (LlmrecError, KeyError):  # written by a newer llmrec: not for this one to read
                continue
        kept.sort(key=lambda one: _numbered(one.name), reverse=True)
        return [*kept, *_shipped()]

    return await run_in_threadpool(look)


@cache
def _shipped() -> tuple[Known, ...]:
    """The templates that come with llmrec; they are the same as long as the process runs, and slow to read."""
    from llmrec.lab import template_toml
    from llmrec.text import list_templates

    return tuple(Known(one.name, one, kept=False, source=template_toml(one)) for one in list_templates())


async def known(service: Service, name: str) -> Known:
    """A template by its name.

    Raises:
        NotFound: there is none of that name.
    """
    found = next((one for one in await all_templates(service) if one.name == name), None)
    if found is None:
        raise NotFound("there is no such template; choose one from the list of prompts")
    return found


@lru_cache(maxsize=256)
def parse(source: str, name: str) -> Template:
    """Read a template from its source.

    Raises:
        TemplateError: it is no valid template; says what to change.
        Unprocessable: it is too long.
    """
    from llmrec.text import Template

    if len(source) > SIGNS:
        raise Unprocessable(f"the source is longer than {SIGNS:,} signs; shorten it")
    try:
        return Template.from_dict(tomllib.loads(source), name)
    except tomllib.TOMLDecodeError as error:
        raise TemplateError(f"the source is not valid TOML: {error}") from None
    except RecursionError:
        raise TemplateError("the source is nested too deep") from None


async def render(service: Service, template: Template, *, people: bool) -> tuple[list[Rendered], str]:
    """What a template makes of some items and users.

    Args:
        service: whose items and users.
        template: the template.
        people: whether users are shown too, which not everybody may see.

    Returns:
        The texts, and what is counted: "tokens" or "words".
    """

    def work() -> tuple[list[Rendered], str]:
        from llmrec.text import bounded_rendering

        ground = _Ground.of(service)
        with bounded_rendering(SHOW_S):
            return [*_items(ground, template), *(_users(ground, template) if people else ())], ground.unit

    return await run_in_threadpool(work)


def _items(ground: _Ground, template: Template) -> list[Rendered]:
    from llmrec.text import render_items

    parts = {"item": ("text",), "pair": ("item",), "chat": ("item",)}.get(template.kind, ("entry",))
    rows, catalog = ground.rows(SHOWN), ground.recommender.catalog
    found = []
    for part in parts:
        texts = render_items(template, catalog, rows, part)
        tokens = ground.counter.count_tokens(texts).tolist()
        ids = catalog.items.decode(rows)
        found += [
            Rendered(part, f"item {of}", text, count, ground.limit)
            for of, text, count in zip(ids, texts, tokens, strict=True)
        ]
    return found


def _users(ground: _Ground, template: Template) -> list[Rendered]:
    from llmrec.text import render_users

    part = {"user": "text", "pair": "user", "chat": "user"}.get(template.kind)
    people = ground.users(SHOWN)
    if part is None or people is None:
        return []
    ids, queries = people
    texts = render_users(template, ground.recommender.catalog, queries, ground.limit, ground.counter, part).texts
    tokens = ground.counter.count_tokens(texts).tolist()
    rows = zip(ids, texts, tokens, strict=True)
    return [Rendered(part, f"user {of}", text, count, ground.limit) for of, text, count in rows]


async def side_by_side(service: Service, before: str, after: str, *, people: bool) -> SideBySide:
    """Two templates on the same items and, if these may be seen, users.

    Raises:
        NotFound: a name is not known.
        ConfigError: they are of different kinds.
        TemplateError: the data do not suit one.
    """
    first, second = await known(service, before), await known(service, after)

    def work() -> SideBySide:
        from llmrec.lab import check_alike, rendered_pairs, source_diff
        from llmrec.text import bounded_rendering

        check_alike(first.template, second.template)
        ground = _Ground.of(service)
        with bounded_rendering(SHOW_S):
            pairs = rendered_pairs(
                first.template,
                second.template,
                ground.recommender.catalog,
                ground.rows(SHOWN),
                ground.users(SHOWN) if people else None,
                ground.counter,
                ground.limit,
            )
        return SideBySide(tuple(source_diff(first.template, second.template)), tuple(pairs), ground.unit)

    return await run_in_threadpool(work)


async def check(service: Service, template: Template) -> tuple[list[Check], str]:
    """Look at what a template makes of the catalog and of some users.

    Returns:
        What was looked at, and a remark on what was left out, or "".
    """

    def work() -> tuple[list[Check], str]:
        from llmrec.data import Catalog
        from llmrec.lab import check_template
        from llmrec.text import bounded_rendering

        ground = _Ground.of(service)
        catalog, people, note = ground.recommender.catalog, ground.users(USERS), ""
        limits = {"item": ground.limit, "user": ground.limit}
        queries = None if people is None else people[1]
        if len(catalog) > CHECKED:
            whole, catalog, queries = (
                len(catalog),
                Catalog.from_table(catalog.take(ground.rows(CHECKED), catalog.columns)),
                None,
            )
            note = f"looked at {len(catalog):,} of {whole:,} items, and at no users"
        with bounded_rendering(CHECK_S):
            return check_template(template, catalog, queries, ground.counter, limits), note

    return await run_in_threadpool(work)


async def keep(service: Service, name: str, source: str, *, now: float, by: str) -> str:
    """Save a version of a template under the next free number.

    Args:
        service: whose store.
        name: of the template, with or without the number of a version.
        source: TOML.
        now: seconds since the epoch.
        by: name of the key that saves; "" for none.

    Returns:
        The name with its number.

    Raises:
        TemplateError: it is no valid template.
        Unprocessable: the name will not do.
        Conflict: somebody saved this version at the same moment.
    """
    bare = name.partition("@")[0].strip()
    if not bare or len(bare) > 80 or not all(sign.isalnum() or sign in "-_./" for sign in bare):
        raise Unprocessable("a template's name has letters, digits and - _ . / only, 80 at most; change the name")
    template = parse(source, bare)

    def work() -> str:
        numbers = [_numbered(one)[1] for one in service.store.values(SPACE) if _numbered(one)[0] == bare]
        numbered = f"{bare}@{max(numbers, default=0) + 1}"
        value: dict[str, Any] = {"source": source, "kind": template.kind, "saved": now, "by": by}
        service.store.put_value(SPACE, numbered, value, expect_absent=True)
        return numbered

    return await run_in_threadpool(work)


def _numbered(name: str) -> tuple[str, int]:
    bare, _, number = name.partition("@")
    return bare, int(number) if number.isdigit() else 0
