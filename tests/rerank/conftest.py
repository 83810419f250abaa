"""A tiny language model, items and users that rerankers with a language model are tested with."""

import re

import pytest

from llmrec.component import FitContext
from llmrec.data import Catalog, Interactions
from llmrec.testing.models import tiny_llama
from llmrec.text import list_templates

TITLES = ["Heat", "Toy Story", "Seven", "Alien", "Aliens", "Fargo", "Babe", "Casino", "Rocky II", "TV Nation"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    parts = [text for template in list_templates() if template.kind == "chat" for text in template.parts.values()]
    words = re.findall(r"[A-Za-z]{2,}", " ".join([*TITLES, *parts]))
    return tiny_llama(tmp_path_factory.mktemp("llama") / "tiny", layers=1, words=words, positions=2048)


@pytest.fixture
def films():
    return Catalog.from_table({"item_id": [f"i{row}" for row in range(len(TITLES))], "title": TITLES})


@pytest.fixture
def context(films):
    """Eight users who took three films each, one who took one."""
    rows = [(f"u{user}", f"i{(user * 3 + step * 2) % len(TITLES)}") for user in range(8) for step in range(3)]
    users, items = zip(*[*rows, ("u8", "i0")], strict=True)
    return FitContext("it", films, Interactions.from_table({"user_id": users, "item_id": items}, films), seed=1)
