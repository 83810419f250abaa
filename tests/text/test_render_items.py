import time

import numpy as np
import pyarrow as pa
import pytest

from llmrec.data import Catalog
from llmrec.errors import TemplateError
from llmrec.text import Field, Template, load_template, render_items
from llmrec.types import Item


@pytest.fixture
def catalog():
    return Catalog.from_table(
        pa.table(
            {
                "item_id": ["a", "b", "c"],
                "title": ["Toy\nStory", "Heat", "{{ title }} {% raw %}"],
                "year": pa.array([1995, None, 2001], pa.int32()),
                "genres": [None, "Crime", ""],
            }
        )
    )


def own(text, **fields):
    return Template("item/own", "item", 1, "", fields, {"text": text})


def test_values_are_data_and_never_jinja(catalog):
    assert render_items(load_template("item/title"), catalog)[2] == "{{ title }} {% raw %}"


def test_what_an_item_lacks_is_left_out_with_its_label(catalog):
    texts = render_items(load_template("item/labelled"), catalog)
    assert texts[:2] == ["Title: Toy Story; year: 1995", "Title: Heat; genres: Crime"]


def test_rows_choose_and_repeat(catalog):
    rows = np.array([1, 0, 1], np.int32)
    assert render_items(load_template("item/title"), catalog, rows) == ["Heat", "Toy Story", "Heat"]
    assert render_items(load_template("item/title"), catalog, np.zeros(0, np.int32)) == []


def test_shipped_item_parts_need_only_a_title():
    bare = Catalog.from_table({"item_id": ["a"], "title": ["Heat"]})
    for name, part in (
        ("item/title", "text"),
        ("item/labelled", "text"),
        ("user/recent", "entry"),
        ("user/profile", "entry"),
        ("pair/history", "entry"),
        ("pair/history", "item"),
    ):
        assert "Heat" in render_items(load_template(name), bare, part=part)[0]


def test_missing_required_column_names_template_field_and_columns():
    catalog = Catalog.from_table({"item_id": ["a"], "name": ["Heat"]})
    with pytest.raises(TemplateError, match=r"item/title requires the field 'title'.*item_id, name"):
        render_items(load_template("item/title"), catalog)


def test_empty_required_value_names_the_item(catalog):
    more = catalog.with_items([Item("d", {"genres": "Drama"})])
    with pytest.raises(TemplateError, match=r"'title', but 1 of 4 items have none, such as item 'd'"):
        render_items(load_template("item/title"), more)
    with pytest.raises(TemplateError, match=r"1 of 2 items.*'d'"):
        render_items(load_template("item/title"), more, np.array([0, 3], np.int32))


def test_new_items_render_like_old_ones(catalog):
    more = catalog.with_items([Item("d", {"title": "Up", "year": 2009})])
    texts = render_items(load_template("item/labelled"), more)
    assert texts[3] == "Title: Up; year: 2009"
    assert texts[:3] == render_items(load_template("item/labelled"), catalog)


def test_a_template_without_fields_still_gives_one_text_an_item(catalog):
    assert render_items(own("same"), catalog) == ["same"] * 3


def test_the_sandbox_holds(catalog):
    template = own("{{ title.__class__.__mro__ }}", title=Field(True, ""))
    with pytest.raises(TemplateError, match=r"item/own, part 'text', cannot be rendered: SecurityError"):
        render_items(template, catalog)


def test_strict_undefined_holds(catalog):
    template = own("{{ title.colour }}", title=Field(True, ""))
    with pytest.raises(TemplateError, match="UndefinedError"):
        render_items(template, catalog)


@pytest.mark.parametrize(("name", "part"), [("item/title", "entry"), ("user/recent", "text"), ("pair/history", "text")])
def test_only_item_parts_can_be_rendered_for_items(catalog, name, part):
    with pytest.raises(TemplateError, match=f"no item part '{part}'"):
        render_items(load_template(name), catalog, part=part)


def test_twenty_thousand_items_take_about_a_second_at_most():
    n = 20_000
    catalog = Catalog.from_table(
        {"item_id": [str(i) for i in range(n)], "title": [f"Title {i}" for i in range(n)], "year": [1999] * n}
    )
    start = time.process_time()
    texts = render_items(load_template("item/labelled"), catalog)
    # The goal is 100,000 in 5 s; twice that is allowed here, for machines that are busy.
    assert time.process_time() - start < 2.0
    assert texts[-1] == f"Title: Title {n - 1}; year: 1999"
