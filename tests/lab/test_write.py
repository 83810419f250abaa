"""Templates as files: what is written reads back the same, and nothing is written over."""

from __future__ import annotations

import tomllib

import pytest

from llmrec.errors import ConfigError, TemplateError
from llmrec.lab import KINDS, new_template, template_toml, write_new
from llmrec.text import Template, list_templates, load_template


@pytest.mark.parametrize("template", list_templates(), ids=lambda template: template.name)
@pytest.mark.parametrize("path", [None, "mine.toml"])
def test_toml_reads_back(template, path):
    again = Template.from_dict(tomllib.loads(template_toml(template, path=path)), template.name)
    assert again == template


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fields", [[], ["title"], ["title", "genres", "year"]])
def test_a_new_template_is_valid_and_commented(tmp_path, kind, fields):
    path = tmp_path / "mine.toml"
    write_new(path, new_template(kind, f"{kind}/mine", fields))
    found = load_template(str(path))
    assert (found.name, found.kind, found.version) == (f"{kind}/mine", kind, 1)
    assert [name for name, field in found.fields.items() if field.scope == "item"][: len(fields)] == fields
    text = path.read_text()
    assert f"# Try it: llmrec prompt render {path}" in text
    assert "# A field is a column of the catalog" in text


def test_nothing_is_written_over(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("mine")
    with pytest.raises(ConfigError, match="is there already"):
        write_new(path, new_template("item", "item/mine"))
    assert path.read_text() == "mine"
    with pytest.raises(ConfigError, match=r"end in \.toml"):
        write_new(tmp_path / "mine.txt", new_template("item", "item/mine"))
    with pytest.raises(ConfigError, match="is no folder"):
        write_new(tmp_path / "no" / "mine.toml", new_template("item", "item/mine"))


def test_wrong_names():
    with pytest.raises(ConfigError, match="kind 'film'"):
        new_template("film", "x")
    with pytest.raises(TemplateError, match="'my field' cannot be a field's name"):
        new_template("item", "x", ["my field"])
