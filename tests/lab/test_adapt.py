"""A template of one kind under a judge that reads another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmrec.errors import ConfigError, TemplateError
from llmrec.lab import as_chat, as_item_and_user, as_pair
from llmrec.testing.data import tiny_catalog
from llmrec.text import Field, list_templates, load_template, render_items, render_users
from llmrec.types import Queries

CATALOG = tiny_catalog(30)
QUERIES = Queries.from_lists([[1, 2, 3], [5]])
ROWS = np.array([0, 4, 7], np.int32)


class Words:
    def count_tokens(self, texts):
        return np.array([len(text.split()) for text in texts], np.int32)


def users(template, part):
    return render_users(template, CATALOG, QUERIES, 100, Words(), part).texts


def test_what_is_of_the_kind_is_left_as_it_is():
    pair, chat, item = load_template("pair/history"), load_template("chat/next"), load_template("item/title")
    assert as_pair(pair) is pair
    assert as_chat(chat) is chat
    assert as_item_and_user(item) == (item, None)


@pytest.mark.parametrize("name", [t.name for t in list_templates() if t.kind == "user"])
def test_a_user_template_says_the_same_everywhere(name):
    template = load_template(name)
    alone = users(template, "text")
    assert users(as_pair(template), "user") == users(as_chat(template), "user") == alone
    item, user = as_item_and_user(template)
    assert (item.name, user) == ("item/genres", template)
    frame = load_template("pair/history")
    assert render_items(as_pair(template), CATALOG, ROWS, "item") == render_items(frame, CATALOG, ROWS, "item")


@pytest.mark.parametrize("name", [t.name for t in list_templates() if t.kind == "item"])
def test_an_item_template_says_the_same_everywhere(name):
    template = load_template(name)
    alone = render_items(template, CATALOG, ROWS)
    assert render_items(as_pair(template), CATALOG, ROWS, "item") == alone
    assert render_items(as_chat(template, "title_likelihood"), CATALOG, ROWS, "item") == alone
    asked = render_items(as_chat(template), CATALOG, ROWS, "item")
    assert asked == [f"Would they choose this next: {text}? Answer Yes or No." for text in alone]


@pytest.mark.parametrize("scorer", ["listwise", "pairwise"])
@pytest.mark.parametrize("name", ["user/genres", "item/genres", "pair/history"])
def test_scorers_that_compare_get_a_frame_that_asks_them_to(name, scorer):
    template = load_template(name)
    frame, made = load_template(f"chat/{scorer}"), as_chat(template, scorer)
    assert (made.parts["system"], made.parts["question"]) == (frame.parts["system"], frame.parts["question"])
    part = {"item": "text", "pair": "item"}.get(template.kind)
    own = render_items(frame, CATALOG, ROWS, "item") if part is None else render_items(template, CATALOG, ROWS, part)
    assert render_items(made, CATALOG, ROWS, "item") == own  # and none of them is asked yes or no


@pytest.mark.parametrize("name", [t.name for t in list_templates() if t.kind == "pair"])
def test_both_halves_of_a_pair_are_used(name):
    template = load_template(name)
    item, user = as_item_and_user(template)
    assert render_items(item, CATALOG, ROWS) == render_items(template, CATALOG, ROWS, "item")
    assert users(user, "text") == users(template, "user") == users(as_chat(template), "user")


def test_a_chat_is_for_language_models():
    chat = load_template("chat/yes-no")
    for adapt in (as_pair, as_item_and_user):
        with pytest.raises(ConfigError, match=r"chat/yes-no is a chat.*--on lm"):
            adapt(chat)


def test_a_field_cannot_be_of_items_and_users():
    fields = {"title": Field(True, "t"), "genres": Field(False, "liked genres", "user")}
    template = replace(load_template("user/recent"), name="user/odd", fields=fields)
    with pytest.raises(TemplateError, match="declares 'genres' of scope 'user'"):
        as_pair(template)


@pytest.mark.parametrize("read", [as_item_and_user, as_pair, as_chat])
def test_what_writes_reasons_ranks_nothing(read):
    with pytest.raises(ConfigError, match="by which nothing is ranked"):
        read(load_template("explain/because"))
