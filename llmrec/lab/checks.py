"""Does a template suit a data set? What it lacks, what it leaves empty, cuts or cannot tell apart."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from llmrec.data import Catalog
from llmrec.errors import ConfigError, TemplateError
from llmrec.text import Template, TokenCounter, render_items, render_users
from llmrec.types import Queries

__all__ = ["Check", "check_template"]

CONTROL = re.compile(
    r"<\|[a-z0-9_]+\|>|<start_of_turn>|<end_of_turn>|\[/?INST\]|</?s>|\[(?:CLS|SEP|MASK|PAD|UNK)\]|<(?:pad|unk|mask)>",
    re.IGNORECASE,
)
"""What passes for a control token with one model or another."""

HIDDEN = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\U000e0000-\U000e007f]")
"""Signs that are not seen: zero width, direction marks, tags."""

EXAMPLES = 3
SHOWN = 60
USERS = 2_000
"""Users that are looked at; of more, a sample that is always the same."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at.

    Attributes:
        name: what.
        level: "ok", "warning" (works, but look at it) or "error" (fitting would fail, or texts say nothing).
        count: how many items or users it holds for.
        of: of how many.
        detail: what that means, with examples.
    """

    name: str
    level: str
    count: int
    of: int
    detail: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def check_template(
    template: Template, catalog: Catalog, queries: Queries | None, counter: TokenCounter, limits: dict[str, int]
) -> list[Check]:
    """Look at what a template makes of every item, and of users.

    Args:
        template: the template.
        catalog: all items.
        queries: users with histories; None: users are left out.
        counter: counts tokens as the model that is to read the texts does.
        limits: tokens of an "item" and a "user" that are read.

    Returns:
        One entry for each thing that was looked at.

    Raises:
        ConfigError: it writes reasons, which are of no item or user alone.
    """
    if template.kind == "explain":
        raise ConfigError(f"{template.name} writes reasons; `llmrec explain --template {template.name}` shows them")
    checks = [_fields(template, catalog)]
    if template.kind != "item" and queries is not None:
        checks += _profile(template, queries)
    part = {"item": "text", "user": "entry"}.get(template.kind, "item")
    texts, failed = _tried(lambda: render_items(template, catalog, part=part))
    checks += [failed] if failed else _items(catalog, texts, counter, limits["item"], entries=part == "entry")
    checks += [_control(template, catalog), _hidden(template, catalog)]
    if template.kind != "item" and queries is not None:
        checks += _users(template, catalog, queries, counter, limits["user"])
    return checks


def _fields(template: Template, catalog: Catalog) -> Check:
    fields = template.fields_of("item")
    missing = [name for name in fields if name not in catalog.columns]
    required = [name for name in missing if fields[name].required]
    columns = ", ".join(catalog.columns)
    if required:
        return Check(
            "fields of items",
            "error",
            len(missing),
            len(fields),
            f"required and missing: {', '.join(required)}; the catalog has {columns}",
        )
    if missing:
        return Check(
            "fields of items",
            "warning",
            len(missing),
            len(fields),
            f"left empty: {', '.join(missing)}; the catalog has {columns}",
        )
    return Check("fields of items", "ok", 0, len(fields), "the catalog has all of them")


def _profile(template: Template, queries: Queries) -> list[Check]:
    fields = template.fields_of("user")
    if not fields:
        return []
    missing = [name for name in fields if name not in (queries.profiles or {})]
    level = "error" if any(fields[name].required for name in missing) else "warning" if missing else "ok"
    detail = f"not known of users: {', '.join(missing)}" if missing else "profiles have all of them"
    return [Check("fields of users", level, len(missing), len(fields), detail)]


def _tried(render: Callable[[], Sequence[str]]) -> tuple[Sequence[str], Check | None]:
    try:
        return render(), None
    except TemplateError as error:
        return [], Check("rendering", "error", 0, 0, str(error))


def _items(catalog: Catalog, texts: Sequence[str], counter: TokenCounter, limit: int, *, entries: bool) -> list[Check]:
    what = "entries" if entries else "item texts"
    empty = [row for row, text in enumerate(texts) if not text]
    checks = [_counted(f"empty {what}", "error", empty, catalog, len(texts), "say nothing")]
    groups = Counter(text for text in texts if text)
    same = [row for row, text in enumerate(texts) if groups[text] > 1]
    example = next((text for text in texts if groups[text] > 1), "")
    doubled = _counted(f"{what} of several items", "warning", same, catalog, len(texts), "cannot be told apart")
    detail = f"{doubled.detail}; {example[:SHOWN]!r} is written of {groups[example]}" if same else doubled.detail
    checks.append(Check(doubled.name, doubled.level, doubled.count, doubled.of, detail))
    if not entries:  # entries are cut as part of a user's text
        tokens = np.asarray(counter.count_tokens(texts))
        cut = np.flatnonzero(tokens > limit).tolist()
        mean = float(tokens.mean()) if len(tokens) else 0.0
        found = _counted(f"cut at {limit} tokens", "warning", cut, catalog, len(texts), "lose their ends")
        checks.append(
            Check(found.name, found.level, found.count, found.of, f"{found.detail}; {mean:.1f} tokens on average")
        )
    return checks


def _control(template: Template, catalog: Catalog) -> Check:
    return _signs(
        template,
        catalog,
        CONTROL,
        "control tokens in data",
        "hold what is a control token elsewhere; it is read as so many signs of text",
    )


def _hidden(template: Template, catalog: Catalog) -> Check:
    return _signs(template, catalog, HIDDEN, "hidden signs in data", "hold signs that cannot be seen")


def _signs(template: Template, catalog: Catalog, pattern: re.Pattern[str], name: str, what: str) -> Check:
    fields = [field for field in template.fields_of("item") if field in catalog.columns]
    found: set[int] = set()
    for field in fields:
        values = catalog.table.column(field).to_pylist()
        found |= {row for row, value in enumerate(values) if value is not None and pattern.search(str(value))}
    return _counted(name, "warning", sorted(found), catalog, len(catalog), what)


def _users(template: Template, catalog: Catalog, queries: Queries, counter: TokenCounter, limit: int) -> list[Check]:
    if len(queries) > USERS:
        queries = queries.take(np.linspace(0, len(queries) - 1, USERS).astype(np.int64))
    part = "text" if template.kind == "user" else "user"
    try:
        users = render_users(template, catalog, queries, limit, counter, part)
    except TemplateError as error:
        return [Check("rendering users", "error", 0, len(queries), str(error))]
    n, known = len(queries), int(np.diff(queries.offsets).sum())
    empty, lost = sum(not text for text in users.texts), int(users.truncated.sum())
    touched = int((users.truncated > 0).sum())
    tokens = np.asarray(counter.count_tokens(users.texts))
    same, mean = n - len(set(users.texts)), float(tokens.mean()) if n else 0.0
    share = lost / known if known else 0.0
    return [
        Check("empty user texts", "error" if empty else "ok", empty, n, "say nothing" if empty else "none"),
        Check(
            f"users over {limit} tokens",
            "warning" if touched else "ok",
            touched,
            n,
            f"the oldest {share:.0%} of all interactions are left out; {mean:.1f} tokens on average",
        ),
        Check(
            "user texts of several users",
            "warning" if same else "ok",
            same,
            n,
            "cannot be told apart" if same else "none",
        ),
    ]


def _counted(name: str, level: str, rows: Sequence[int], catalog: Catalog, of: int, what: str) -> Check:
    if not rows:
        return Check(name, "ok", 0, of, "none")
    examples = ", ".join(catalog.items[row] for row in rows[:EXAMPLES])
    return Check(name, level, len(rows), of, f"{what}, such as {examples}")
