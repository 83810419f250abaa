"""``llmrec render``: what a template makes of real data, and what a model's tokenizer makes of that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmrec.cli.complete import complete_templates
from llmrec.cli.output import print_json, print_rows, printable, progress, results
from llmrec.cli.source import (
    ConfigOption,
    DatasetOption,
    InteractionsOption,
    JsonOption,
    ProfilesOption,
    SetOption,
    data_config,
    read_project,
    split_ids,
)
from llmrec.errors import ConfigError, DataError

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from llmrec.data import Catalog, Interactions, Users
    from llmrec.models import TextReader
    from llmrec.text import Template
    from llmrec.types import Queries

__all__ = ["render"]

SHOWN = 3
"""Items or users that are shown where none are named."""

PAIRED = ("pair", "chat")
"""Kinds of templates that write a user and an item."""

FINGERPRINT = 12
"""Hex digits of a fingerprint on the screen: enough to tell templates apart."""

TemplateOption = Annotated[
    str | None,
    typer.Option(
        "--template",
        metavar="NAME|FILE",
        autocompletion=complete_templates,
        help="A template's name, or a .toml file of your own.",
    ),
]
ListOption = Annotated[bool, typer.Option("--list", help="List the templates that come with llmrec.")]
BundleChoice = Annotated[
    Path | None, typer.Option("--bundle", metavar="FOLDER", help="Take items and users from a bundle.")
]
ItemsFile = Annotated[
    Path | None,
    typer.Option("--items", metavar="FILE", help="The catalog; with --interactions where users are to be shown."),
]
ItemOption = Annotated[
    str | None, typer.Option("--item", metavar="IDS", help="Items, comma-separated; default: the first three.")
]
UserOption = Annotated[
    str | None, typer.Option("--user", metavar="IDS", help="Users, comma-separated; default: the first three.")
]
HistoryOption = Annotated[
    str | None, typer.Option("--history", metavar="ITEMS", help="A user of whom this is known: item ids, oldest first.")
]
WishOption = Annotated[str | None, typer.Option("--wish", metavar="TEXT", help="What is wished for, in words.")]
EncoderOption = Annotated[
    str, typer.Option("--encoder", metavar="NAME", help="The model that is to read the texts: a name or a folder.")
]
MaxTokensOption = Annotated[
    int | None,
    typer.Option("--max-tokens", metavar="N", help="Tokens it may read; default: that of dense or cross_encoder."),
]


@dataclass(frozen=True, slots=True)
class Named:
    """What the options say about where the data is."""

    dataset: str | None
    items: Path | None
    interactions: Path | None
    profiles: Path | None
    bundle: Path | None


@dataclass(frozen=True, slots=True)
class Source:
    """Where items and users come from; each may be missing but the catalog."""

    catalog: Catalog
    log: Interactions | None = None
    users: Users | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """A text, and what becomes of it.

    Attributes:
        of: "item" or "user".
        id: whose it is; None for a user made up of --history and --wish.
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
    template: TemplateOption = None,
    list_them: ListOption = False,
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
    encoder: EncoderOption = "minilm",
    max_tokens: MaxTokensOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a template writes of items and users, token by token, and what a model has no room for."""
    from llmrec.text import load_template

    if list_them:
        _show_list(as_json)
        return
    if template is None:
        raise ConfigError("say which template with --template NAME; llmrec render --list shows them")
    chosen = load_template(template)
    _check_asked(chosen, item, user, history, wish)
    with progress() as say:
        source = _read(Named(dataset, items, interactions, profiles, bundle), config, sets, say)
        reader, limits = _open(chosen, encoder, max_tokens, say)
    shown = []
    if chosen.kind != "item":
        shown += _users(chosen, source, _queries(source, user, history, wish), reader, limits["user"])
    if chosen.kind != "user":
        shown += _items(chosen, source.catalog, item, reader, limits["item"])
    _tell(chosen, reader, shown, as_json)


def _tell(template: Template, reader: TextReader, shown: list[Shown], as_json: bool) -> None:
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


def _read(named: Named, config: Path | None, sets: list[str] | None, say: Callable[[str], None]) -> Source:
    from llmrec.data import Catalog, load_data

    files = (named.dataset, named.items, named.interactions, named.profiles)
    if named.bundle is not None:
        if any(name is not None for name in files):
            raise ConfigError("--bundle brings its own data; leave --dataset and the files out")
        return _from_bundle(named.bundle)
    told = read_project(config, sets).data
    others = (named.dataset, named.interactions, named.profiles, told.dataset, told.interactions)
    if named.items is not None and all(name is None for name in others):
        return Source(Catalog.from_file(named.items))
    data = load_data(data_config(told, *files), progress=say)
    return Source(data.catalog, data.interactions, data.users)


def _from_bundle(bundle: Path) -> Source:
    """The data of a bundle, without its models."""
    from llmrec.bundle import read_bundle
    from llmrec.data import Catalog, Interactions, Users

    _, parts = read_bundle(bundle)
    log = Interactions.from_state(parts["histories"]) if "histories" in parts else None
    users = Users.from_state(parts["users"]) if "users" in parts else None
    return Source(Catalog.from_state(parts["catalog"]), log, users)


def _open(
    template: Template, encoder: str, max_tokens: int | None, say: Callable[[str], None]
) -> tuple[TextReader, dict[str, int]]:
    """The model's tokenizer, and how many tokens of a user's and an item's text it reads."""
    from llmrec.models import TextReader
    from llmrec.rerank import user_budget
    from llmrec.retrieve.dense import DenseConfig
    from llmrec.train.pair_config import CrossEncoderConfig

    if template.kind not in PAIRED:
        reader = TextReader.load(encoder, max_tokens=max_tokens or DenseConfig().max_tokens, progress=say)
        return reader, dict.fromkeys(("user", "item"), reader.text_budget)
    usual = CrossEncoderConfig()
    reader = TextReader.load_pair(encoder, max_tokens=max_tokens or usual.max_tokens, progress=say)
    limits = {"user": user_budget(reader.max_tokens, usual.item_tokens), "item": usual.item_tokens}
    if limits["user"] < 1:
        raise ConfigError(
            f"--max-tokens {max_tokens} leaves no room for a user beside {usual.item_tokens} for the item"
        )
    return reader, limits


def _queries(
    source: Source, user: str | None, history: str | None, wish: str | None
) -> tuple[Sequence[str | None], Queries]:
    """Who is shown, and what is known of them."""
    from llmrec.types import Queries

    if history is not None or (wish is not None and user is None):
        ids = [] if history is None else split_ids(history, "--history")
        return [None], Queries.from_lists([source.catalog.items.rows(ids).tolist()], [wish])
    if source.log is None:
        raise ConfigError("there are no users in this data; add --interactions FILE, or use --history or --wish")
    names = list(islice(source.log.users, SHOWN)) if user is None else split_ids(user, "--user")
    queries = source.log.queries(source.log.users.rows(names).astype("int64"))
    profiles = None if source.users is None else source.users.profiles(names)
    return names, replace(queries, profiles=profiles, texts=None if wish is None else [wish] * len(names))


def _users(
    template: Template, source: Source, asked: tuple[Sequence[str | None], Queries], reader: TextReader, limit: int
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


def _items(template: Template, catalog: Catalog, item: str | None, reader: TextReader, limit: int) -> list[Shown]:
    from llmrec.text import render_items

    names = list(islice(catalog.items, SHOWN)) if item is None else split_ids(item, "--item")
    part = "item" if template.kind in PAIRED else "text"
    return _shown("item", names, render_items(template, catalog, catalog.items.rows(names), part), reader, limit)


def _shown(of: str, names: Sequence[str | None], texts: Sequence[str], reader: TextReader, limit: int) -> list[Shown]:
    unknown: np.ndarray[Any, Any] = reader.count_unknown(texts)
    rows = zip(names, texts, reader.pieces(texts), unknown.tolist(), strict=True)
    return [
        Shown(of, name, text, len(pieces), limit, max(0, len(pieces) - limit), lost, pieces)
        for name, text, pieces, lost in rows
    ]


def _show_list(as_json: bool) -> None:
    from llmrec.text import list_templates

    found = [_about(template) for template in list_templates()]
    if as_json:
        print_json(found)
        return
    rows = [("template", "language", "version", "fingerprint", "description")]
    rows += [
        (t["name"], t["language"], str(t["version"]), t["fingerprint"][:FINGERPRINT], t["description"]) for t in found
    ]
    print_rows(results(), rows, left=5)


def _about(template: Template) -> dict[str, Any]:
    told = template.to_dict()
    fields = [{"name": name, **field} for name, field in told["fields"].items()]
    return {**told, "fields": fields, "fingerprint": template.fingerprint}


def _as_json(template: Template, reader: TextReader, share: float, shown: Sequence[Shown]) -> dict[str, Any]:
    names = ("name", "kind", "language", "version", "fingerprint")
    return {
        "template": {name: getattr(template, name) for name in names},
        "model": {"name": reader.name, "max_tokens": reader.max_tokens, "text_tokens": reader.text_budget},
        "unknown_share": share,
        "texts": [asdict(entry) for entry in shown],
    }


def _print(console: Console, template: Template, reader: TextReader, share: float, shown: Sequence[Shown]) -> None:
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
