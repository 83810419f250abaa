"""What the commands of `llmrec prompt` share: templates, data, the model that is to read texts, who is shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from llmrec.cli.complete import complete_templates
from llmrec.cli.source import data_config, read_project, split_ids
from llmrec.errors import ConfigError, TemplateError

if TYPE_CHECKING:
    from llmrec.data import Catalog, Interactions, Users
    from llmrec.models import LanguageModel
    from llmrec.text import Template
    from llmrec.types import Int32Array, Queries

__all__ = [
    "FINGERPRINT",
    "PAIRED",
    "SHOWN",
    "BundleChoice",
    "ItemOption",
    "ItemsFile",
    "MaxTokensOption",
    "ModelOption",
    "Named",
    "Reader",
    "Source",
    "TemplateArgument",
    "UserOption",
    "known_users",
    "open_model",
    "queries_of",
    "read_source",
    "templates_in",
]

SHOWN = 3
"""Items or users that are shown where none are named."""

PAIRED = ("pair", "chat")
"""Kinds of templates that write a user and an item."""

FINGERPRINT = 12
"""Hex digits of a fingerprint on the screen: enough to tell templates apart."""

TemplateArgument = Annotated[
    str,
    typer.Argument(
        metavar="TEMPLATE",
        autocompletion=complete_templates,
        help="A template's name, such as user/recent, or a .toml file of your own.",
    ),
]
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
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help="The model that is to read the texts, a name or a folder; default: minilm, and smollm2 for a chat.",
    ),
]
MaxTokensOption = Annotated[
    int | None,
    typer.Option(
        "--max-tokens", metavar="N", help="Tokens it may read; default: that of dense, cross_encoder or yes_no."
    ),
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


class Reader(Protocol):
    """What is to read texts: it says how many tokens they have."""

    @property
    def name(self) -> str:
        """The model's name."""

    @property
    def max_tokens(self) -> int:
        """Tokens it reads, special tokens included."""

    @property
    def text_budget(self) -> int:
        """Of these, text."""

    def count_tokens(self, texts: Sequence[str]) -> Int32Array:
        """Int32[n]: tokens of each text."""

    def count_unknown(self, texts: Sequence[str]) -> Int32Array:
        """Int32[n]: of these, unknown ones."""

    def pieces(self, texts: Sequence[str]) -> list[list[str]]:
        """The tokens."""


@dataclass(frozen=True, slots=True, eq=False)
class ChatReader:
    """A language model's tokenizer as a reader; it spells in bytes what it does not know, so nothing is unknown.

    Attributes:
        model: the model.
        text_budget: tokens that the chat around the texts leaves over.
    """

    model: LanguageModel
    text_budget: int

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model.name

    @property
    def max_tokens(self) -> int:
        """Tokens it reads."""
        return self.model.max_tokens

    def count_tokens(self, texts: Sequence[str]) -> Int32Array:
        """Int32[n]: tokens of each text."""
        return self.model.count_tokens(texts)

    def count_unknown(self, texts: Sequence[str]) -> Int32Array:
        """Int32[n]: none."""
        return self.model.count_tokens(texts) * 0

    def pieces(self, texts: Sequence[str]) -> list[list[str]]:
        """The tokens, each as it reads alone."""
        tokens = self.model.tokens
        return [[tokens.read([id_]) for id_ in tokens.text(text)] for text in texts]


def templates_in(folder: Path) -> list[Template]:
    """All templates of a folder, and of folders in it, by path.

    Raises:
        ConfigError: there is no such folder, or no template in it.
        TemplateError: one is not valid.
    """
    from llmrec.text import load_template

    if not folder.is_dir():
        raise ConfigError(f"--prompts {folder} is no folder")
    paths = sorted(folder.rglob("*.toml"))
    if not paths:
        raise ConfigError(f"--prompts {folder} holds no .toml file")
    found = []
    for path in paths:
        try:
            found.append(load_template(str(path)))
        except TemplateError as error:
            raise TemplateError(f"{path}: {error}") from error
    return found


def read_source(named: Named, config: Path | None, sets: list[str] | None, say: Callable[[str], None]) -> Source:
    """Read items and users from wherever the options say.

    Raises:
        ConfigError: the options do not go together.
    """
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


def open_model(
    template: Template, catalog: Catalog, model: str | None, max_tokens: int | None, say: Callable[[str], None]
) -> tuple[Reader, dict[str, int]]:
    """The model's tokenizer, and how many tokens of a user's and an item's text it reads.

    Raises:
        ConfigError: `max_tokens` leaves no room.
    """
    from llmrec.models import TextReader
    from llmrec.rerank import user_budget
    from llmrec.retrieve.dense import DenseConfig
    from llmrec.train.pair_config import CrossEncoderConfig

    if template.kind == "chat":
        return _open_chat(template, catalog, model or "smollm2", max_tokens)
    name = model or "minilm"
    if template.kind != "pair":
        reader = TextReader.load(name, max_tokens=max_tokens or DenseConfig().max_tokens, progress=say)
        return reader, dict.fromkeys(("user", "item"), reader.text_budget)
    usual = CrossEncoderConfig()
    reader = TextReader.load_pair(name, max_tokens=max_tokens or usual.max_tokens, progress=say)
    limits = {"user": user_budget(reader.max_tokens, usual.item_tokens), "item": usual.item_tokens}
    _check_room(limits, max_tokens)
    return reader, limits


def _open_chat(
    template: Template, catalog: Catalog, name: str, max_tokens: int | None
) -> tuple[Reader, dict[str, int]]:
    from llmrec.lab import chat_room
    from llmrec.models import LanguageModel
    from llmrec.rerank.language import LanguageConfig
    from llmrec.rerank.language import Reader as ChatWriter

    usual = LanguageConfig()
    model = LanguageModel.load(name, max_tokens=max_tokens or usual.max_tokens)
    limits = {"user": chat_room(ChatWriter(model, template, usual.item_tokens, catalog)), "item": usual.item_tokens}
    _check_room(limits, max_tokens)
    return ChatReader(model, sum(limits.values())), limits


def _check_room(limits: dict[str, int], max_tokens: int | None) -> None:
    if limits["user"] < 1:
        raise ConfigError(f"--max-tokens {max_tokens} leaves no room for a user beside {limits['item']} for the item")


def known_users(source: Source, names: Sequence[str]) -> Queries:
    """Histories and profiles of known users.

    Raises:
        ConfigError: the data have no users.
        UnknownIdError: one is not known.
    """
    if source.log is None:
        raise ConfigError("there are no users in this data; add --interactions FILE, or use --history or --wish")
    queries = source.log.queries(source.log.users.rows(names).astype("int64"))
    return replace(queries, profiles=None if source.users is None else source.users.profiles(names))


def queries_of(
    source: Source, user: str | None, history: str | None = None, wish: str | None = None
) -> tuple[list[str | None], Queries]:
    """Who is shown, and what is known of them."""
    from llmrec.types import Queries

    if history is not None or (wish is not None and user is None):
        ids = [] if history is None else split_ids(history, "--history")
        return [None], Queries.from_lists([source.catalog.items.rows(ids).tolist()], [wish])
    first = [] if source.log is None else list(islice(source.log.users, SHOWN))
    names = first if user is None else split_ids(user, "--user")
    queries = known_users(source, names)
    return [*names], replace(queries, texts=None if wish is None else [wish] * len(names))
