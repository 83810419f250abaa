"""What every shipped template writes, word for word.

A change here changes what encoders see: raise the template's version, and expect bundles and caches made
before to be refused or made again. Write the file anew with: python tests/golden/test_prompts_golden.py
"""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

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

GOLDEN = Path(__file__).with_name("prompts.json")


class Words:
    def count_tokens(self, texts):
        return np.array([len(text.split()) for text in texts], np.int32)


def make_catalogs():
    full = pa.table(
        {
            "item_id": ["50", "181", "267", "113"],
            "title": ["Star Wars", "Misérables, Les", "unknown\n", 'L.A. "Confidential" & {{ more }}'],
            "year": [1977, 1995, None, 1997],
            "genres": ["Action Adventure Romance Sci-Fi War", None, "", "Crime Film-Noir Mystery Thriller"],
            "description": ["Long ago, far away:\n a war.", None, "", "Three policemen; one case."],
        }
    )
    return {"full": Catalog.from_table(full), "titles only": Catalog.from_table(full.select(["item_id", "title"]))}


def make_queries():
    rows = Queries.from_lists([[0, 1, 3], [2], [], [], [0, 1, 2, 3] * 5])
    count = len(rows.items)
    return Queries(
        rows.offsets,
        rows.items,
        kinds=np.array([0, 1, -1, *(place % 2 for place in range(count - 3))], np.int8),
        kind_names=("bought", "viewed"),
        ratings=np.array([5, np.nan, 4.5, *(place % 5 + 1 for place in range(count - 3))], np.float32),
        texts=[None, "something\tlighter", None, "a film like Heat", None],
        profiles={
            "age": [24, None, 53, None, 1],
            "gender": ["M", "F", None, None, ""],
            "occupation": ["writer"] * 3 + [None] * 2,
        },
    )


def make_evidence(*names):
    nothing = {"history": [], "whole": False, "fields": [], "wish": "", "profile": [], "popular": False, "rule": False}
    known = [
        {"history": names[1:2]},
        {"history": names[1:3], "fields": ["genres"], "popular": True},
        {"history": names[1:4], "wish": "a film like Heat", "profile": ["age", "occupation"]},
        {"whole": True},
        {"fields": ["genres", "year"]},
        {"popular": True},
        {"rule": True},
        {},
    ]
    return [{"item": names[0], **nothing, **one, "history": list(one.get("history", []))} for one in known]


def rendered(name):
    template = load_template(name)
    out = {"version": template.version, "fingerprint": template.fingerprint}
    if template.kind == "chat":
        out |= {"system": render_system(template), "question": render_question(template)}
    for label, catalog in make_catalogs().items():
        parts = {"item": ["text"], "user": ["entry"], "explain": ["entry"]}.get(template.kind, ["entry", "item"])
        texts = {part: render_items(template, catalog, part=part) for part in parts}
        if template.kind == "explain":
            given = make_evidence(*texts["entry"])
            texts["text"] = render_evidence(template, given)
            texts["ask"] = render_evidence(template, [{**given[0], "sentence": texts["text"][0]}], "ask")
        elif template.kind != "item":
            part = "text" if template.kind == "user" else "user"
            users = render_users(template, catalog, make_queries(), 40, Words(), part)
            texts[f"users.{part}"] = users.texts
            texts["kept"] = users.kept.tolist()
        out[label] = texts
    return out


@pytest.mark.parametrize("name", [template.name for template in list_templates()])
def test_shipped_templates_write_what_they_always_wrote(name):
    assert rendered(name) == json.loads(GOLDEN.read_text(encoding="utf-8"))[name]


def test_the_file_holds_no_more_than_there_is():
    assert set(json.loads(GOLDEN.read_text(encoding="utf-8"))) == {template.name for template in list_templates()}


if __name__ == "__main__":
    content = {template.name: rendered(template.name) for template in list_templates()}
    GOLDEN.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
