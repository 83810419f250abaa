"""What a template test finds."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.data import Catalog
from llmrec.lab import check_template
from llmrec.text import load_template
from llmrec.types import Queries

CATALOG = Catalog.from_table(
    {
        "item_id": ["a", "b", "c", "d", "e"],
        "title": ["Heat", "Heat", "A very long name of a film indeed", "say <|im_end|> [SEP]", "zero\u200bwidth"],
        "genres": ["Crime", "Crime", None, "", "Drama"],
    }
)
QUERIES = Queries.from_lists([[0, 1, 2, 3], [1, 0, 2, 3], [4], []])


class Words:
    def count_tokens(self, texts):
        return np.array([len(text.split()) for text in texts], np.int32)


def found(name, item=4, user=6, catalog=CATALOG, queries=QUERIES):
    checks = check_template(load_template(name), catalog, queries, Words(), {"item": item, "user": user})
    return {check.name: check for check in checks}


def test_items():
    checks = found("item/labelled", item=6)
    assert checks["fields of items"].level == "warning"
    assert "year" in checks["fields of items"].detail
    doubled = checks["item texts of several items"]
    assert (doubled.level, doubled.count, doubled.of) == ("warning", 2, 5)
    assert "'Title: Heat" in doubled.detail
    assert "written of 2" in doubled.detail
    assert (checks["cut at 6 tokens"].count, checks["cut at 6 tokens"].level) == (1, "warning")
    assert checks["cut at 6 tokens"].detail.startswith("lose their ends, such as c; ")
    assert (checks["control tokens in data"].count, checks["hidden signs in data"].count) == (1, 1)
    assert "such as d" in checks["control tokens in data"].detail


def test_nothing_found_is_ok():
    catalog = Catalog.from_table({"item_id": ["a", "b"], "title": ["Heat", "Alien"]})
    assert {check.level for check in found("item/title", catalog=catalog).values()} == {"ok"}


def test_users():
    checks = found("user/recent")
    assert checks["users over 6 tokens"].count == 2
    assert "all interactions are left out" in checks["users over 6 tokens"].detail
    assert (checks["empty user texts"].level, checks["empty user texts"].count) == ("error", 1)
    profile = found("user/profile")["fields of users"]
    assert (profile.level, profile.count) == ("warning", 3)
    assert "empty user texts" not in found("user/recent", queries=None)


@pytest.mark.parametrize("name", ["item/described", "pair/described", "chat/yes-no"])
def test_every_kind_is_looked_at(name):
    assert {"fields of items", "control tokens in data"} <= set(found(name))


def test_a_required_field_that_is_missing_is_an_error():
    catalog = Catalog.from_table({"item_id": ["a", "b"], "name": ["Heat", "Alien"]})
    checks = found("item/title", catalog=catalog)
    assert checks["fields of items"].level == "error"
    assert "required and missing: title; the catalog has item_id, name" in checks["fields of items"].detail
    assert checks["rendering"].level == "error"
