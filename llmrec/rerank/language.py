"""Reranking with a causal language model: how likely it finds a yes, or an item's name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from llmrec.component import Component, ComponentConfig, FitContext
from llmrec.data import Catalog
from llmrec.errors import ConfigError
from llmrec.models import ChatModel, Message, open_chat_model
from llmrec.rerank.cross_encoder import Pairs, render_pairs
from llmrec.rerank.shots import Example, draw_examples, histories_of
from llmrec.text import Template, load_template, render_items, render_question, render_system, render_users
from llmrec.types import BoolArray, Float32Array, Int32Array, Int64Array, Queries, State

__all__ = [
    "ANSWER",
    "TITLE",
    "YES_NO",
    "LanguageConfig",
    "OfTexts",
    "Reader",
    "Shown",
    "Title",
    "TitleConfig",
    "YesNo",
    "YesNoConfig",
    "read_examples",
]


class LanguageConfig(ComponentConfig):
    """Settings of a language model that reads a history and an item.

    Attributes:
        model: a named model, a folder, a hub id, or URL and name of one behind an OpenAI-compatible server, as in
            "http://localhost:8000/v1#smollm2".
        template: a chat template.
        max_tokens: limit on a chat's length, the answer included.
        item_tokens: tokens kept for the item; the history gets the rest.
        shots: so many users of the log are shown first, each with what they took next as the right answer.
        shot_tokens: tokens kept for each of their histories.
    """

    model: str = "smollm2"
    template: str = "chat/yes-no"
    max_tokens: int = Field(default=512, ge=64)
    item_tokens: int = Field(default=48, ge=4)
    shots: int = Field(default=0, ge=0, le=32)
    shot_tokens: int = Field(default=64, ge=8)


class YesNoConfig(LanguageConfig):
    """Settings of `YesNo`.

    Attributes:
        yes: the answer that is for an item.
        no: the one against it.
        evidence: "likelihood": how much likelier the one is than the other; "answer": which of the two the model says,
            1 or -1, for servers that give no likelihoods. Many items are level then; the fusion tells them apart.
    """

    yes: str = Field(default="Yes", min_length=1)
    no: str = Field(default="No", min_length=1)
    evidence: Literal["likelihood", "answer"] = "likelihood"


class TitleConfig(LanguageConfig):
    """Settings of `Title`.

    Attributes:
        length_power: a likelihood is divided by its number of tokens to this power; 0: long names lose.
        prior_weight: how much of the likelihood without a history is taken off: of what the model finds likely anyway.
    """

    template: str = "chat/next"
    length_power: float = Field(default=0.5, ge=0, le=1)
    prior_weight: float = Field(default=1.0, ge=0, le=1)


@dataclass(frozen=True, slots=True, eq=False)
class Reader:
    """How histories and items are put to a language model.

    Attributes:
        model: the model.
        template: a chat template.
        item_tokens: tokens kept for the item.
        catalog: all items.
        shots: what is asked before, each with its right answer.
    """

    model: ChatModel[Any]
    template: Template
    item_tokens: int
    catalog: Catalog
    shots: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, config: LanguageConfig, catalog: Catalog) -> Self:
        """Open the model and the template; ConfigError if the template is of another kind."""
        template = load_template(config.template)
        if template.kind != "chat":
            raise ConfigError(f"template {template.name} is of kind {template.kind!r}; a language model needs a chat")
        return cls(open_chat_model(config.model, max_tokens=config.max_tokens), template, config.item_tokens, catalog)

    def asked(self, queries: Queries, items: Int32Array) -> tuple[Int64Array, Int64Array]:
        """Which cells are scored: rows and places of items, of queries with a history or a wish."""
        known = (np.diff(queries.offsets) > 0) | queries.wishes
        rows, places = np.nonzero((items >= 0) & known[:, None])
        return rows.astype(np.int64), places.astype(np.int64)

    def pairs(self, queries: Queries, rows: Int64Array, items: Int32Array, room: int | None = None) -> Pairs:
        """The texts of m users and items; users are cut to what the chat around leaves over.

        Args:
            queries: n queries.
            rows: Int64[m], whose each pair is.
            items: Int32[m], catalog rows.
            room: tokens kept for items and the answer; None: for one item.
        """
        distinct, local = np.unique(rows, return_inverse=True)
        budget = self.budget(room)
        found = render_pairs(self.template, self.catalog, queries.take(distinct), local, items, self.model, budget)
        return replace(found, items=self.cut(found.items))

    def budget(self, room: int | None = None) -> int:
        """Tokens that are left for a user.

        Args:
            room: tokens kept for items and the answer; None: for one item.

        Raises:
            ConfigError: there are none.
        """
        around = len(self.chats([self.question([])])[0])
        room = self.item_tokens + ANSWER if room is None else room
        budget = self.model.max_tokens - around - room
        if budget < 1:
            raise ConfigError(
                f"max_tokens={self.model.max_tokens} leaves no room for a user beside {around} tokens of the chat and "
                f"{room} of what is asked and answered; raise it, or lower item_tokens, shots or shot_tokens"
            )
        return budget

    def lists(self, queries: Queries, items: Int32Array, room: int) -> Iterator[Shown]:
        """The lists of all queries with a history or a wish; see `pairs`."""
        rows, places = self.asked(queries, items)
        if len(rows) == 0:
            return
        pairs = self.pairs(queries, rows, items[rows, places], room)
        for some in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows)) + 1):
            row, texts = int(rows[some[0]]), [pairs.items[item] for item in pairs.item_rows[some]]
            user = pairs.users[pairs.user_rows[some[0]]]
            yield Shown(row, places[some], items[row, places[some]], user, texts)

    def cut(self, texts: Iterable[str]) -> list[str]:
        """Texts of items, none longer than what is kept for one."""
        return [self.model.cut(text, self.item_tokens) for text in texts]

    def question(self, texts: Iterable[str]) -> str:
        """A message: a user's text, items' texts, and what the template asks in the end."""
        return "\n".join(text for text in (*texts, render_question(self.template)) if text)

    def chats(self, texts: Sequence[str]) -> list[Any]:
        """Prompts of the model: chats, each with one message of the user's behind the examples."""
        said = render_system(self.template)
        before = [Message("system", said)] if said else []
        for asked, answer in self.shots:
            before += [Message("user", asked), Message("assistant", answer)]
        return [self.model.chat([*before, Message("user", text)]) for text in texts]

    def state(self, settings: ComponentConfig) -> State:
        """Settings, the template, the examples and the model's files; of a model behind a URL, no files."""
        config = {"settings": settings.model_dump(), "template": self.template.to_dict(), "shots": list(self.shots)}
        return State(config, {}, {f"model/{name}": path for name, path in self.model.files().items()})

    @classmethod
    def from_state(cls, state: State, config: LanguageConfig, catalog: Catalog) -> Self:
        """Bring it back."""
        stored = {name.removeprefix("model/"): path for name, path in state.files.items()}
        model = open_chat_model(config.model, max_tokens=config.max_tokens, stored=stored)
        shots = tuple((asked, answer) for asked, answer in state.config.get("shots", ()))
        return cls(model, Template.from_dict(state.config["template"]), config.item_tokens, catalog, shots)


def read_examples(
    reader: Reader, context: FitContext, config: LanguageConfig, beside: int
) -> list[tuple[Example, str, list[str]]]:
    """Draw as many examples as the settings ask for, with the user's text and the texts of the items shown.

    Args:
        reader: writes them.
        context: what may be learned from.
        config: how many there are, and how long a history is.
        beside: so many items that the user did not take are shown beside the one taken.
    """
    if config.shots == 0:
        return []
    examples = draw_examples(context, config.shots, beside)
    queries = histories_of(context, examples)
    users = render_users(reader.template, reader.catalog, queries, config.shot_tokens, reader.model, part="user").texts
    shown = [render_items(reader.template, reader.catalog, one.shown, part="item") for one in examples]
    return [(one, user, reader.cut(texts)) for one, user, texts in zip(examples, users, shown, strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A list that is shown to the model as a whole.

    Attributes:
        row: whose it is.
        places: Int64[m], where its items stand.
        items: Int32[m], their catalog rows.
        user: the user's text.
        texts: theirs.
    """

    row: int
    places: Int64Array
    items: Int32Array
    user: str
    texts: list[str]


ANSWER = 8
"""Tokens that are kept for an answer and what separates texts."""


@dataclass(frozen=True, slots=True, eq=False)
class OfTexts:
    """What scorers that read texts have in common: they know items by nothing else."""

    name: str
    config: Any
    reader: Reader

    def with_items(self, catalog: Catalog, changed: Int32Array) -> Self:
        """Return the same scorer over another state of the catalog: items are read when they are scored."""
        return replace(self, reader=replace(self.reader, catalog=catalog))

    def forgetting(self, items: BoolArray) -> Self:
        """Return the scorer as it is: it knows items by their texts alone."""
        return self

    def state(self) -> State:
        """Return the settings, the template and the model's files."""
        return self.reader.state(self.config)


@dataclass(frozen=True, slots=True, eq=False)
class YesNo(OfTexts):
    """Scores an item by how much likelier a yes is than a no, asked whether it suits.

    As Bao et al. ask, "TALLRec: An Effective and Efficient Tuning Framework to Align Large Language Model with
    Recommendation", RecSys 2023.

    Attributes:
        name: the score column.
        config: its settings.
        reader: the model, and how it is asked.
    """

    component: ClassVar[str] = "yes_no"
    config: YesNoConfig

    def score(self, queries: Queries, items: Int32Array) -> Float32Array:
        """Return differences of log-likelihoods, Float32[n, k].

        Answers, 1 or -1, if these are the evidence. NaN at pads, without a history and a wish, and where the model says
        neither, or a server lists neither among the likeliest.
        """
        scores = np.full(items.shape, np.nan, dtype=np.float32)
        rows, places = self.reader.asked(queries, items)
        if len(rows):
            pairs = self.reader.pairs(queries, rows, items[rows, places])
            prompts = self.reader.chats([self.reader.question(texts) for texts in pairs.texts()])
            scores[rows, places] = self._weighed(prompts)
        return scores

    def _weighed(self, prompts: Sequence[Any]) -> Float32Array:
        """Float32[m]: what speaks for a yes after each prompt."""
        model, answers = self.reader.model, [self.config.yes, self.config.no]
        if self.config.evidence == "answer":
            said = model.generate(prompts, max_new_tokens=ANSWER)
            begun = np.array([[_begins(text, answer) for answer in answers] for text in said])
            return np.where(begun[:, 0] == begun[:, 1], np.nan, np.where(begun[:, 0], 1, -1)).astype(np.float32)
        found = model.choose(prompts, answers)
        return found[:, 0] - found[:, 1]


@dataclass(frozen=True, slots=True, eq=False)
class Title(OfTexts):
    """Scores an item by how likely its name is as the answer to what comes next.

    The likelihood without a history is taken off, so that what is famous or simply common does not win by that
    (Holtzman et al., "Surface Form Competition", EMNLP 2021), and the rest is divided by a power of its length.

    Attributes:
        name: the score column.
        config: its settings.
        reader: the model, and how it is asked.
    """

    component: ClassVar[str] = "title_likelihood"
    config: TitleConfig

    def score(self, queries: Queries, items: Int32Array) -> Float32Array:
        """Return calibrated log-likelihoods, Float32[n, k]; NaN at pads, and without a history and a wish."""
        scores = np.full(items.shape, np.nan, dtype=np.float32)
        rows, places = self.reader.asked(queries, items)
        if len(rows) == 0:
            return scores
        model, pairs = self.reader.model, self.reader.pairs(queries, rows, items[rows, places])
        names = list(pairs.items)
        lengths = model.count_tokens(names).astype(np.float32) + 1  # its end is foretold too
        prior = np.zeros(len(names), dtype=np.float32)
        if self.config.prior_weight:
            (prior,) = model.log_likelihood(self.reader.chats([self.reader.question([])]), [names], ended=True)
        # rows rise, so the cells of a user stand together
        shown = np.split(pairs.item_rows, np.flatnonzero(np.diff(pairs.user_rows)) + 1)
        answers = [[names[item] for item in some] for some in shown]
        prompts = self.reader.chats([self.reader.question([user]) for user in pairs.users])
        found = np.concatenate(model.log_likelihood(prompts, answers, ended=True))
        found -= self.config.prior_weight * prior[pairs.item_rows]
        scores[rows, places] = found / lengths[pairs.item_rows] ** self.config.length_power
        return scores


def _begins(said: str, answer: str) -> bool:
    """Whether what a model says begins with an answer, be it in quotes, in bold, or in small letters.

    As a word of its own: "Nothing" is no no. Scripts without small letters may go on, as Chinese has no spaces.
    """
    end = r"(?![^\W_])" if answer[-1].lower() != answer[-1].upper() else ""
    begun = re.sub(r"^[\W_]+", "", said).casefold()
    return re.match(re.escape(answer.casefold()) + end, begun) is not None


def _fit_yes_no(context: FitContext, config: YesNoConfig) -> YesNo:
    """Half of the examples are of items that were taken."""
    reader, shots = Reader.of(config, context.catalog), []
    for place, (example, user, texts) in enumerate(read_examples(reader, context, config, beside=1)):
        taken = place % 2 == 0
        item = texts[example.taken if taken else 1 - example.taken]
        shots.append((reader.question([user, item]), config.yes if taken else config.no))
    return YesNo(context.name, config, replace(reader, shots=tuple(shots)))


def _load_yes_no(name: str, state: State, catalog: Catalog) -> YesNo:
    config = YesNoConfig.model_validate(state.config["settings"])
    return YesNo(name, config, Reader.from_state(state, config, catalog))


def _fit_title(context: FitContext, config: TitleConfig) -> Title:
    reader = Reader.of(config, context.catalog)
    examples = read_examples(reader, context, config, beside=0)
    shots = tuple((reader.question([user]), texts[0]) for _, user, texts in examples)
    return Title(context.name, config, replace(reader, shots=shots))


def _load_title(name: str, state: State, catalog: Catalog) -> Title:
    config = TitleConfig.model_validate(state.config["settings"])
    return Title(name, config, Reader.from_state(state, config, catalog))


YES_NO = Component("scorer", YesNoConfig, _fit_yes_no, _load_yes_no)
TITLE = Component("scorer", TitleConfig, _fit_title, _load_title)
