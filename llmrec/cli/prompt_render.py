"""``llmrec prompt render``: what a template makes of real data, and what a model's tokenizer makes of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmrec.cli.output import print_json, printable, progress, results
from llmrec.cli.prompt_source import (
    FINGERPRINT,
    PAIRED,
    SHOWN,
    BundleChoice,
    ItemOption,
    ItemsFile,
    MaxTokensOption,
    ModelOption,
    Named,
    Reader,
    Source,
    TemplateArgument,
    UserOption,
    open_model,
    queries_of,
    read_source,
)
from llmrec.cli.source import (
    ConfigOption,
    DatasetOption,
    InteractionsOption,
    JsonOption,
    ProfilesOption,
    SetOption,
    split_ids,
)
from llmrec.errors import ConfigError, DataError

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from llmrec.data import Catalog
    from llmrec.text import Template
    from llmrec.types import Queries

__all__ = ["render"]

HistoryOption = Annotated[
    str | None, typer.Option("--history", metavar="ITEMS", help="A user of whom this is known: item ids, oldest first.")
]
WishOption = Annotated[str | None, typer.Option("--wish", metavar="TEXT", help="What is wished for, in words.")]


@dataclass(frozen=True, slots=True)
class Shown:
    """A text, and what becomes of it.

    Attributes:
        of: "item", "user" or, of a chat, "system".
        id: whose it is; None for a user made up of --history and --wish, and for the system.
        text: as rendered.
        tokens: how many it has, without special tokens.
        limit: how many are read.
        over: how many are not, because they are over the limit.
        unknown: how many stand for signs the tokenizer does not know.
        pieces: the tokens themselves.
        history: items in the history; None for an item.
        left_out: items of it, the oldest, that the text has no room for; None for an item.
        shortened: whether the wish, or the only item, was itself cut; None for an item.
    """

    of: str
    id: str | None
    text: str
    tokens: int
    limit: int
    over: int
    unknown: int
    pieces: list[str]
    history: int | None = None
    left_out: int | None = None
    shortened: bool | None = None


def render(
    template: TemplateArgument,
    dataset: DatasetOption = None,
    items: ItemsFile = None,
    interactions: InteractionsOption = None,
    profiles: ProfilesOption = None,
    bundle: BundleChoice = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    item: ItemOption = None,
    user: UserOption = None,
    history: HistoryOption = None,
    wish: WishOption = None,
    model: ModelOption = None,
    max_tokens: MaxTokensOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a template writes of items and users, token by token, and what a model has no room for."""
    from llmrec.text import load_template

    chosen = load_template(template)
    _check_asked(chosen, item, user, history, wish)
    with progress() as say:
        source = read_source(Named(dataset, items, interactions, profiles, bundle), config, sets, say)
        reader, limits = open_model(chosen, source.catalog, model, max_tokens, say)
    shown = _system(chosen, reader) if chosen.kind == "chat" else []
    if chosen.kind != "item":
        shown += _users(chosen, source, queries_of(source, user, history, wish), reader, limits["user"])
    if chosen.kind != "user":
        shown += _items(chosen, source.catalog, item, reader, limits["item"])
    _tell(chosen, reader, shown, as_json)


def _tell(template: Template, reader: Reader, shown: list[Shown], as_json: bool) -> None:
    """Print everything, and warn where the tokenizer does not know the script."""
    from llmrec.text import check_vocabulary, warn_unknown

    texts = [entry.text for entry in shown]
    share = check_vocabulary(texts, reader).share
    if as_json:
        print_json(_as_json(template, reader, share, shown))
    else:
        _print(results(), template, reader, share, shown)
    warn_unknown(texts, reader)


def _check_asked(template: Template, item: str | None, user: str | None, history: str | None, wish: str | None) -> None:
    """Raise ConfigError or DataError for an option that would be left unheeded, or has nothing in it."""
    if template.kind == "explain":
        raise ConfigError(f"{template.name} writes reasons; `llmrec explain --template {template.name}` shows them")
    if template.kind == "user" and item is not None:
        raise ConfigError(f"{template.name} writes users: name them with --user, or give their items with --history")
    if template.kind == "item":
        for option, value in {"--user": user, "--history": history, "--wish": wish}.items():
            if value is not None:
                raise ConfigError(f"{template.name} writes items: {option} is for user and pair templates; use --item")
    if user is not None and history is not None:
        raise ConfigError("--user and --history exclude each other: a known user has a history")
    if wish is not None and not wish.strip():
        raise DataError("the wish is empty; say what is wished for, or leave --wish out")


def _system(template: Template, reader: Reader) -> list[Shown]:
    """What a language model is told before."""
    from llmrec.text import render_system

    said = render_system(template)
    return _shown("system", [None], [said], reader, reader.max_tokens) if said else []


def _users(
    template: Template, source: Source, asked: tuple[Sequence[str | None], Queries], reader: Reader, limit: int
) -> list[Shown]:
    from llmrec.text import render_users

    names, queries = asked
    part = "user" if template.kind in PAIRED else "text"
    users = render_users(template, source.catalog, queries, limit, reader, part)
    shown = _shown("user", names, users.texts, reader, limit)
    lengths = queries.offsets[1:] - queries.offsets[:-1]
    return [
        replace(entry, history=int(length), left_out=int(out), shortened=bool(cut))
        for entry, length, out, cut in zip(shown, lengths, users.truncated, users.shortened, strict=True)
    ]


def _items(template: Template, catalog: Catalog, item: str | None, reader: Reader, limit: int) -> list[Shown]:
    from llmrec.text import render_items

    names = list(islice(catalog.items, SHOWN)) if item is None else split_ids(item, "--item")
    part = "item" if template.kind in PAIRED else "text"
    return _shown("item", names, render_items(template, catalog, catalog.items.rows(names), part), reader, limit)


def _shown(of: str, names: Sequence[str | None], texts: Sequence[str], reader: Reader, limit: int) -> list[Shown]:
    unknown: np.ndarray[Any, Any] = reader.count_unknown(texts)
    rows = zip(names, texts, reader.pieces(texts), unknown.tolist(), strict=True)
    return [
        Shown(of, name, text, len(pieces), limit, max(0, len(pieces) - limit), lost, pieces)
        for name, text, pieces, lost in rows
    ]


def _as_json(template: Template, reader: Reader, share: float, shown: Sequence[Shown]) -> dict[str, Any]:
    names = ("name", "kind", "language", "version", "fingerprint")
    return {
        "template": {name: getattr(template, name) for name in names},
        "model": {"name": reader.name, "max_tokens": reader.max_tokens, "text_tokens": reader.text_budget},
        "unknown_share": share,
        "texts": [asdict(entry) for entry in shown],
    }


def _print(console: Console, template: Template, reader: Reader, share: float, shown: Sequence[Shown]) -> None:
    what = "pair" if template.kind in PAIRED else "text"
    for line in (
        f"template {template.name}, version {template.version}, {template.fingerprint[:FINGERPRINT]}",
        f"model {reader.name} reads {reader.max_tokens} tokens of a {what}, {reader.text_budget} of them text; "
        f"{share:.1%} of the tokens below are unknown to it",
    ):
        console.print(printable(line), soft_wrap=True)
    for entry in shown:
        read, rest = entry.pieces[: entry.limit], entry.pieces[entry.limit :]
        end = [f"|| {' '.join(rest)}"] if rest else []
        console.print()
        console.print(printable(_heading(entry, template.kind in PAIRED)), style="bold", soft_wrap=True)
        console.print(printable(f"  {entry.text or '(empty)'}"), soft_wrap=True)
        console.print(printable(f"  {' '.join([*read, *end])}"), style="dim", soft_wrap=True)


def _heading(entry: Shown, pair: bool) -> str:
    name = f"{entry.of} {entry.id}" if entry.id is not None else entry.of
    told = [f"{entry.tokens} of {entry.limit} tokens"]
    if entry.history:
        told.append(f"{entry.history - (entry.left_out or 0)} of {entry.history} items")
    if entry.shortened:
        told.append("cut to fit")
    if entry.over:
        told.append(f"{entry.over} after || not read{' where the user needs the room' if pair else ''}")
    if entry.unknown:
        told.append(f"{entry.unknown} unknown")
    return f"{name}: {', '.join(told)}"
