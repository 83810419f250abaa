"""The search: chosen on one half of the users, reported on the other, the same for the same seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmrec.errors import ConfigError
from llmrec.lab import Lab, Measured, search_template
from llmrec.lab.ground import halves
from llmrec.lab.sketch import Sketch, sketched
from llmrec.testing.data import tiny_catalog
from llmrec.text import load_template, render_items, render_users
from llmrec.types import Queries

CATALOG = tiny_catalog(30)


class Words:
    def count_tokens(self, texts):
        return np.array([len(text.split()) for text in texts], np.int32)


@pytest.fixture
def judges(ground, fake):
    """Judges to whom every item template that writes genres is worth rank 2, any other rank 5."""

    def of(cases):
        judge = replace(fake, cases=cases, asked=[])

        def measure(template):
            judge.asked.append(template.name)
            worth = 2.0 if "genres" in template.fields else 5.0
            return Measured(np.full(len(cases), worth), {"item": 1.0}, 1.0, 1.0)

        judge.measure = measure
        return judge

    return tuple(of(cases) for cases in halves(ground.cases, 0))


def test_the_better_half_is_found_and_told_on_the_other(ground, store, judges):
    start = load_template("item/title")
    found = search_template(Lab(ground, store, "tiny"), start, judges, trials=12, fields=["genres"])
    assert found.trials[0].template == start
    assert "genres" in found.best.fields
    assert found.chosen_on == len(judges[0].cases)
    (judged,) = found.held.judged
    assert judged.card.n_users == len(judges[1].cases)
    assert list(judged.reports) == ["item/title", found.best.name]
    assert judged.comparisons[0].result.difference > 0
    assert set(judges[1].asked) == {"item/title", found.best.name}  # the other half is asked of nothing else


def test_the_same_seed_tries_the_same_and_measures_nothing_again(ground, store, judges):
    start = load_template("item/title")
    first = search_template(Lab(ground, store), start, judges, trials=6, fields=["genres"])
    asked = list(judges[0].asked)
    second = search_template(Lab(ground, store), start, judges, trials=6, fields=["genres"])
    assert judges[0].asked == asked
    assert [t.template.fingerprint for t in first.trials] == [t.template.fingerprint for t in second.trials]


def test_nothing_better_leaves_the_start(ground, store, judges):
    start = load_template("item/genres")
    found = search_template(Lab(ground, store), start, judges, trials=3)
    assert found.best == start
    assert list(found.held.judged[0].reports) == ["item/genres"]


def test_what_cannot_be_searched(ground, store, judges):
    lab = Lab(ground, store)
    with pytest.raises(ConfigError, match="is a chat"):
        search_template(lab, load_template("chat/next"), judges, trials=3)
    with pytest.raises(ConfigError, match=r"explain/because is of kind 'explain'.*search an item, user or pair"):
        search_template(lab, load_template("explain/because"), judges, trials=3)
    assert judges[0].asked == []  # nothing was measured for it
    with pytest.raises(ConfigError, match="no field 'plot'"):
        search_template(lab, load_template("item/title"), judges, trials=3, fields=["plot"])


@pytest.mark.parametrize("kind", ["item", "user", "pair"])
def test_a_sketch_writes_what_it_says(kind):
    start = load_template({"item": "item/title", "user": "user/profile", "pair": "pair/profile"}[kind])
    sketch = Sketch(
        ("title", "genres"), "labelled", ("genres", "title"), 2, "bar", 'so "far": {{ x }}', profile=("age",)
    )
    template = sketched(start, sketch, f"{kind}/made")
    if kind != "user":
        part = "text" if kind == "item" else "item"
        (text,) = render_items(template, CATALOG, np.array([0], np.int32), part)
        assert text == f"title: {CATALOG.records(np.array([0]))[0]['title']}. genres: Drama."
    if kind != "item":
        queries = replace(Queries.from_lists([[0, 1, 5]]), profiles={"age": [31]})
        part = "text" if kind == "user" else "user"
        (text,) = render_users(template, CATALOG, queries, 100, Words(), part).texts
        five, one = (CATALOG.records(np.array([row]))[0] for row in (5, 1))
        entries = " | ".join(f"{item['genres']} ({item['title']})" for item in (five, one))
        assert text == f'age: 31. so "far": {{{{ x }}}} {entries}'
