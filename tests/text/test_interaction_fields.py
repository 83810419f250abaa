"""Templates that read what is known of an interaction beside its item: rating, kind, weight."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.data import Catalog
from llmrec.errors import TemplateError
from llmrec.text import Field, Template, load_template, render_items, render_users
from llmrec.types import Queries

CATALOG = Catalog.from_table({"item_id": ["a", "b", "c"], "title": ["Heat", "Babe", "Seven"]})


class Words:
    """Counts words, and remembers what it was asked."""

    def __init__(self):
        self.calls = []

    def count_tokens(self, texts):
        self.calls.append(list(texts))
        return np.array([len(text.split()) for text in texts], np.int32)


def template(entry, required=False, **scopes):
    fields = {"title": Field(True, ""), **{name: Field(required, "", "interaction") for name in scopes or ("rating",)}}
    return Template("user/own", "user", 1, "", fields, {"entry": entry, "text": '{{ history | join(" ") }}'})


RATED = template("{{ title }}:{{ rating }}")


def queries(histories, **known):
    return replace(Queries.from_lists(histories), **known)


def ratings(*values):
    return np.array(values, np.float32)


def write(template, queries, budget=100, counter=None):
    return render_users(template, CATALOG, queries, budget, counter or Words())


def test_each_interaction_has_its_own_rating():
    got = write(RATED, queries([[0, 1], [0]], ratings=ratings(5, 1, 2)))
    assert got.texts == ["Babe:1 Heat:5", "Heat:2"]


@pytest.mark.parametrize(
    ("rating", "text"),
    [(4.0, "4"), (3.3, "3.3"), (0.5, "0.5"), (-1.0, "-1"), (-0.0, "0"), (np.nan, ""), (1e8, "100000000"), (0.1, "0.1")],
)
def test_numbers_are_as_short_as_can_be(rating, text):
    assert write(RATED, queries([[0]], ratings=ratings(rating))).texts == [f"Heat:{text}"]


def test_what_is_not_known_is_blank():
    everything = template("[{{ title }}|{{ rating }}|{{ kind }}|{{ weight }}]", rating=1, kind=1, weight=1)
    assert write(everything, queries([[0]])).texts == ["[Heat|||]"]
    assert render_items(everything, CATALOG, part="entry")[0] == "[Heat|||]"
    assert render_items(load_template("user/ratings"), CATALOG, part="entry") == ["Heat", "Babe", "Seven"]


def test_kinds_by_name_and_weights():
    known = {"kinds": np.array([1, 0, -1], np.int8), "kind_names": ("view\n", "buy"), "weights": ratings(1, 0.25, 3)}
    got = write(template("{{ kind }}>{{ title }}>{{ weight }}", kind=1, weight=1), queries([[0, 1, 2]], **known))
    assert got.texts == [">Seven>3 view>Babe>0.25 buy>Heat>1"]
    nameless = queries([[0]], kinds=np.array([0], np.int8))
    assert write(template("{{ kind }}>{{ title }}", kind=1), nameless).texts == [">Heat"]


def test_equal_entries_are_rendered_and_counted_once_and_others_are_not_mixed_up():
    rated = queries([[0, 1], [0, 1], [1, 0]] * 10, ratings=ratings(*[5, 1, 5, 1, 5, 5] * 10))
    counter = Words()
    got = write(RATED, rated, counter=counter)
    assert got.texts == ["Babe:1 Heat:5", "Babe:1 Heat:5", "Heat:5 Babe:5"] * 10
    assert sorted(next(call for call in counter.calls if "Heat:5" in call)) == ["Babe:1", "Babe:5", "Heat:5"]


def test_a_template_that_reads_no_rating_has_one_entry_an_item():
    counter = Words()
    write(load_template("user/recent"), queries([[0, 0], [0, 1]], ratings=ratings(1, 2, 3, 4)), counter=counter)
    assert ["Heat", "Babe"] in counter.calls


def test_required_means_every_interaction():
    required = template("{{ title }}:{{ rating }}", required=True)
    assert write(required, queries([[0]], ratings=ratings(1))).texts == ["Heat:1"]
    with pytest.raises(TemplateError, match="requires the rating of every interaction, but 2 of 3 have none"):
        write(required, queries([[0, 0], [0]], ratings=ratings(np.nan, np.nan, 5)))
    with pytest.raises(TemplateError, match="1 of 1 have none"):
        write(required, queries([[0]]))
    assert write(required, queries([[]])).texts == [""]
    kinds = {"kinds": np.array([0], np.int8), "kind_names": ("buy",)}
    assert write(template("{{ kind }}", required=True, kind=1), queries([[0]], **kinds)).texts == ["buy"]


@pytest.mark.parametrize(
    ("fields", "parts", "message"),
    [
        (
            {"stars": Field(False, "", "interaction")},
            {},
            "nothing called 'stars' is known of an interaction.*rating, kind",
        ),
        ({"rating": Field(False, "", "interaction")}, {"text": "{{ rating }}"}, "'text', reads rating"),
        ({}, {"entry": "{{ kind }}"}, "'entry', reads kind"),
    ],
)
def test_only_entries_read_what_is_declared(fields, parts, message):
    with pytest.raises(TemplateError, match=message):
        Template("user/own", "user", 1, "", fields, {"entry": "", "text": "", **parts})


def test_item_templates_read_no_interactions():
    with pytest.raises(TemplateError, match="scope 'interaction'"):
        Template("item/own", "item", 1, "", {"rating": Field(False, "", "interaction")}, {"text": ""})


def test_the_item_part_of_a_pair_template_reads_none():
    fields = {"rating": Field(False, "", "interaction")}
    parts = {"entry": "{{ rating }}", "user": "", "item": ""}
    Template("pair/own", "pair", 1, "", fields, parts)
    with pytest.raises(TemplateError, match="'item', reads rating"):
        Template("pair/own", "pair", 1, "", fields, parts | {"item": "{{ rating }}"})


interactions = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from([np.nan, 1, 2.5, 5]), st.integers(-1, 1), st.sampled_from([1, 0.5])),
    max_size=9,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(interactions, min_size=1, max_size=5), st.integers(1, 12))
def test_texts_are_the_newest_interactions_as_written_one_by_one(rows, budget):
    flat = [one for row in rows for one in row]
    known = {
        "ratings": np.array([one[1] for one in flat], np.float32),
        "kinds": np.array([one[2] for one in flat], np.int8),
        "kind_names": ("view", "buy"),
        "weights": np.array([one[3] for one in flat], np.float32),
    }
    own = template("{{ title }}/{{ rating }}/{{ kind }}/{{ weight }}", rating=1, kind=1, weight=1)
    got = write(own, queries([[one[0] for one in row] for row in rows], **known), budget)
    for row, text, kept, left_out in zip(rows, got.texts, got.kept, got.truncated, strict=True):
        entries = [
            f"{CATALOG.table['title'][i].as_py()}/{'' if np.isnan(r) else f'{r:g}'}/{['view', 'buy', ''][k]}/{w:g}"
            for i, r, k, w in row[::-1]
        ]
        assert kept == min(len(row), budget)
        assert left_out == len(row) - kept
        assert text == " ".join(entries[:kept])
