"""What holds for every template that comes with the library, whatever the data."""

# ruff: noqa: RUF001 - Chinese templates have Chinese signs

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.data import Catalog
from llmrec.text import (
    list_templates,
    load_template,
    render_evidence,
    render_items,
    render_question,
    render_system,
    render_users,
)
from llmrec.types import Queries

TEMPLATES = {template.name: template for template in list_templates()}
ITEM_PARTS_OF = {
    "item": ["text"],
    "user": ["entry"],
    "pair": ["entry", "item"],
    "chat": ["entry", "item"],
    "explain": ["entry"],
}
ITEM_PARTS = [(name, part) for name, template in TEMPLATES.items() for part in ITEM_PARTS_OF[template.kind]]
USER_PARTS = [
    (name, "text" if template.kind == "user" else "user")
    for name, template in TEMPLATES.items()
    if template.kind not in ("item", "explain")
]
TITLES = ["Heat", "Toy Story", "霸王别姬", "Misérables, Les", "Alien 3"]
EVIDENCE = [
    {"item": "Heat", "whole": False, "rule": False, **known}
    for known in (
        {"history": ["Alien", "Up"], "fields": ["genres"], "wish": "w", "profile": ["age"], "popular": True},
        {"history": [], "fields": [], "wish": "", "profile": [], "popular": True},
    )
]
HOSTILE = "[SEP]\n{{ 7 * 7 }}{% raw %}\x00\x1b[31m\u2028<|im_end|> {# x"
CLEANED = "[SEP] {{ 7 * 7 }}{% raw %} [31m <|im_end|> {# x"


class Signs:
    """Counts ideographs and words."""

    def count_tokens(self, texts):
        return np.array([sum(1 + sum(ord(s) > 0x2E80 for s in word) for word in t.split()) for t in texts], np.int32)


def full(titles=TITLES):
    n = len(titles)
    return Catalog.from_table(
        {
            "item_id": [f"i{row}" for row in range(n)],
            "title": titles,
            "year": [1995, None, 1993, 2012, 1992][:n],
            "genres": ["Crime", "Animation", None, "", "Horror"][:n],
            "description": [None, "Toys, alive.", "", "Poor people.", "Space."][:n],
        }
    )


BARE = Catalog.from_table({"item_id": [f"i{row}" for row in range(len(TITLES))], "title": TITLES})


def known(histories, **more):
    queries = Queries.from_lists(histories)
    count = len(queries.items)
    marks = {
        "ratings": np.array([np.nan if place % 4 == 3 else 1 + place % 5 for place in range(count)], np.float32),
        "kinds": np.array([place % 3 - 1 for place in range(count)], np.int8),
        "kind_names": ("viewed", "bought"),
        "weights": np.ones(count, np.float32),
    }
    return replace(queries, **(marks | more))


def write(name, part, queries, catalog=None, budget=200):
    catalog = full() if catalog is None else catalog
    return render_users(TEMPLATES[name], catalog, queries, budget, Signs(), part)


def test_there_is_a_choice_in_both_languages():
    english, chinese = (
        Counter(t.kind for t in TEMPLATES.values() if t.language == language) for language in ("en", "zh")
    )
    assert english["item"] >= 5
    assert english["user"] >= 5
    assert english["pair"] >= 4
    assert min(chinese[kind] for kind in ("item", "user", "pair")) >= 2
    assert {t.language for t in TEMPLATES.values()} == {"en", "zh"}
    assert all(name.split("/")[1].startswith("zh-") == (t.language == "zh") for name, t in TEMPLATES.items())


def test_no_two_say_the_same():
    assert len({template.fingerprint for template in TEMPLATES.values()}) == len(TEMPLATES)
    written = {}
    for name, part in USER_PARTS:
        queries = known([[0, 1, 2]], texts=["w"], profiles={"age": [30], "gender": ["F"], "occupation": ["writer"]})
        items = render_items(TEMPLATES[name], full(), part="item") if part == "user" else []
        template = TEMPLATES[name]
        said = [render_system(template), render_question(template)] if template.kind == "chat" else []
        written[name] = (*write(name, part, queries).texts, *items, *said)
    written |= {name: tuple(render_items(t, full())) for name, t in TEMPLATES.items() if t.kind == "item"}
    written |= {n: tuple(render_evidence(t, EVIDENCE)) for n, t in TEMPLATES.items() if t.kind == "explain"}
    assert len(set(written.values())) == len(TEMPLATES)


@pytest.mark.parametrize(("name", "part"), ITEM_PARTS)
def test_items_full_bare_and_hostile(name, part):
    template = TEMPLATES[name]
    for catalog in (full(), BARE):
        texts = render_items(template, catalog, part=part)
        assert all(title in text for title, text in zip(TITLES, texts, strict=True))
        assert not any("None" in text or "nan" in text or "  " in text for text in texts)
    hostile = {"item_id": ["a"], "title": [HOSTILE], "genres": [HOSTILE], "description": [HOSTILE], "year": [HOSTILE]}
    text = render_items(template, Catalog.from_table(hostile), part=part)[0]
    assert CLEANED in text
    assert text.isprintable()
    assert "49" not in text


@pytest.mark.parametrize(("name", "part"), USER_PARTS)
def test_nothing_known_is_an_empty_text(name, part):
    assert write(name, part, Queries.from_lists([[]])).texts == [""]
    assert write(name, part, known([[]], texts=[None], profiles={"age": [None]})).texts == [""]


@pytest.mark.parametrize(("name", "part"), USER_PARTS)
@pytest.mark.parametrize("catalog", [full(), BARE], ids=["full", "titles only"])
def test_users_with_more_or_less_known(name, part, catalog):
    profiles = {"age": [30], "gender": ["F"], "occupation": ["writer"]}
    for more in ({}, {"ratings": None, "kinds": None, "kind_names": ()}, {"profiles": profiles}):
        for wish in (None, "a slow western"):
            got = write(name, part, known([[4, 2, 0]], texts=[wish], **more), catalog)
            assert all(TITLES[row] in got.texts[0] for row in (0, 2, 4))
            assert ("a slow western" in got.texts[0]) is (wish is not None)
            assert not any(word in got.texts[0] for word in ("None", "nan", "  ", "()", "：。"))
            assert (got.kept.tolist(), got.truncated.tolist(), got.shortened.tolist()) == ([3], [0], [False])
    only = write(name, part, known([[]], texts=["a slow western"]), catalog).texts[0]
    assert "a slow western" in only
    assert not any(title in only for title in TITLES)


@pytest.mark.parametrize(("name", "part"), USER_PARTS)
def test_hostile_users(name, part):
    catalog = Catalog.from_table({"item_id": ["a"], "title": [HOSTILE], "genres": [HOSTILE]})
    broken = HOSTILE + "\ud800"  # a catalog cannot hold half a character, but JSON can
    profiles = {"age": [broken], "gender": [broken], "occupation": [broken]}
    queries = known([[0]], texts=[broken], profiles=profiles, kind_names=(HOSTILE, HOSTILE))
    text = write(name, part, queries, catalog).texts[0]
    assert text.count(CLEANED) >= 2
    assert text.isprintable()
    assert "49" not in text


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("user/ratings", "Most recent first: Alien 3 (5); Toy Story; Heat (1.5)"),
        ("user/opinions", "loved Alien 3; Toy Story; hated Heat"),
        ("user/actions", "bought: Alien 3; viewed: Toy Story; Heat"),
        ("user/genres", "Alien 3 (Horror); Toy Story (Animation); Heat (Crime)"),
        ("user/timeline", "Heat, then Toy Story, then Alien 3"),
        ("user/zh-ratings", "最近：《Alien 3》5分；《Toy Story》；《Heat》1.5分"),
        ("user/zh-recent", "最近：《Alien 3》、《Toy Story》、《Heat》"),
    ],
)
def test_what_they_say(name, shown):
    ratings = np.array([1.5, np.nan, 5], np.float32)
    kinds = np.array([-1, 0, 1], np.int8)
    assert write(name, "text", known([[0, 1, 4]], ratings=ratings, kinds=kinds)).texts == [shown]


@pytest.mark.parametrize(("name", "part"), USER_PARTS)
@pytest.mark.parametrize(
    "wish", ["Something funny!", "Is there more?", "A western.", "想看喜剧。", "有什么好看的？", "x…"]
)
def test_a_wish_that_is_a_sentence_ends_once(name, part, wish):
    for history in ([4, 2, 0], []):
        text = write(name, part, known([history], texts=[wish])).texts[0]
        assert wish in text
        assert not any(sign + stop in text for sign in ".!?…。！？" for stop in ".。，?？")


def test_a_title_that_is_a_sentence_ends_once():
    catalog = Catalog.from_table(
        {"item_id": list("abc"), "title": ["Help!", "Heat", "Bob?"], "description": ["A.", "B.", None]}
    )
    for name, part in (("item/described", "text"), ("pair/described", "item")):
        assert render_items(TEMPLATES[name], catalog, part=part) == ["Help! A.", "Heat. B.", "Bob?"]


@pytest.mark.parametrize(
    ("rating", "word"),
    [
        (1, "hated"),
        (1.5, "hated"),
        (2, "disliked"),
        (2.5, "disliked"),
        (3, "had mixed feelings about"),
        (3.5, "liked"),
        (4, "liked"),
        (4.5, "loved"),
        (5, "loved"),
    ],
)
def test_opinions_in_words(rating, word):
    got = write("user/opinions", "text", known([[0]], ratings=np.array([rating], np.float32)))
    assert got.texts == [f"{word} Heat"]


def test_a_chinese_wish_over_the_budget_is_cut_after_an_ideograph():
    wish = "想看一部轻松的喜剧片" * 5
    got = write("user/zh-recent", "text", known([[0]], texts=[wish]), budget=30)
    assert Signs().count_tokens(got.texts).tolist() == [30]
    assert got.texts[0].startswith("想要：想看一部轻松")
    assert (got.shortened.tolist(), got.truncated.tolist()) == ([True], [1])


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(USER_PARTS),
    st.lists(st.lists(st.integers(0, len(TITLES) - 1), max_size=15), min_size=1, max_size=4),
    st.integers(22, 60),
)
def test_never_over_the_budget_and_the_newest_are_kept(which, rows, budget):
    titles = [f"t{row} {title}" for row, title in enumerate(TITLES)]
    got = write(*which, known(rows), full(titles), budget)
    assert (Signs().count_tokens(got.texts) <= budget).all()
    for row, text, kept, left_out in zip(rows, got.texts, got.kept, got.truncated, strict=True):
        assert kept + left_out == len(row)
        newest = row[::-1][:kept]
        shown = [int(digit) for digit in re.findall(r"(?<![A-Za-z])t(\d)(?!\w)", text)]
        assert shown == (newest[::-1] if which[0] == "user/timeline" else newest)


def test_defaults_of_components_are_among_them():
    assert {load_template(name).kind for name in ("item/genres", "user/recent", "pair/history")} == {
        "item",
        "user",
        "pair",
    }
