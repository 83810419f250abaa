import json
from dataclasses import replace

import pytest

from llmrec.errors import TemplateError
from llmrec.text import Field, Template, list_templates, render_question


def item_template(text="{{ title }}", **fields):
    fields = fields or {"title": Field(True, "name")}
    return Template("item/test", "item", 1, "a test", fields, {"text": text})


def test_undeclared_name_is_refused_when_the_template_is_made():
    with pytest.raises(TemplateError, match=r"item/test.*'text'.*reads titel.*can read: title.*\[fields\.titel\]"):
        item_template("{{ titel }}")


def test_a_name_used_only_in_a_branch_must_be_declared_too():
    with pytest.raises(TemplateError, match="reads year"):
        item_template("{{ title }}{% if year %}!{% endif %}")


def test_bad_jinja_names_the_template_the_part_and_the_line():
    with pytest.raises(TemplateError, match=r"item/test.*'text'.*line 2"):
        item_template("{{ title }}\n{% if %}")


@pytest.mark.parametrize(
    ("kind", "parts", "message"),
    [
        ("item", {}, "needs the parts text, but has none"),
        ("item", {"text": "", "entry": ""}, "needs the parts text, but has entry, text"),
        ("user", {"text": ""}, "needs the parts entry, text"),
        ("pair", {"user": "", "item": ""}, "needs the parts entry, user, item"),
        ("chat", {"user": "", "item": ""}, "needs the parts system, entry, user, item"),
        ("explain", {"text": ""}, "needs the parts system, entry, text, ask"),
        ("list", {"text": ""}, "'list' is not one of item, user, pair, chat, explain"),
    ],
)
def test_parts_must_be_those_of_the_kind(kind, parts, message):
    with pytest.raises(TemplateError, match=message):
        Template("x/y", kind, 1, "", {}, parts)


CHAT = {"system": "", "entry": "x", "user": "", "item": "x"}


def test_a_chat_may_ask_something_in_the_end_which_reads_nothing():
    without = Template("chat/y", "chat", 1, "", {}, CHAT)
    asking = Template("chat/y", "chat", 1, "", {}, {**CHAT, "question": "Which\n{# one #}?"})
    assert (render_question(without), render_question(asking)) == ("", "Which\n?")
    assert without.fingerprint != asking.fingerprint
    assert Template.from_dict(asking.to_dict()) == asking
    with pytest.raises(TemplateError, match="part 'question', reads history"):
        Template("chat/y", "chat", 1, "", {}, {**CHAT, "question": "{{ history }}"})
    with pytest.raises(TemplateError, match="needs the parts entry, user, item, but has"):
        Template("pair/y", "pair", 1, "", {}, {"entry": "", "user": "", "item": "", "question": ""})
    with pytest.raises(TemplateError, match="has no user part 'system'"):
        render_question(Template("pair/y", "pair", 1, "", {}, {"entry": "", "user": "", "item": ""}))


@pytest.mark.parametrize("name", ["history", "wish", "release year", "1st"])
def test_field_names_that_a_part_could_not_read_are_refused(name):
    with pytest.raises(TemplateError, match="cannot be a field's name"):
        item_template("x", **{name: Field(False, "")})


def test_item_template_has_no_user_fields():
    with pytest.raises(TemplateError, match="scope 'user'"):
        item_template("x", age=Field(False, "", "user"))


def test_user_part_sees_the_profile_and_entry_sees_the_item_and_not_the_other_way_round():
    fields = {"title": Field(True, ""), "age": Field(False, "", "user")}
    Template("u/v", "user", 1, "", fields, {"entry": "{{ title }}", "text": "{{ age }}{{ history }}{{ wish }}"})
    with pytest.raises(TemplateError, match="'entry', reads age"):
        Template("u/v", "user", 1, "", fields, {"entry": "{{ age }}", "text": ""})
    with pytest.raises(TemplateError, match="'text', reads title"):
        Template("u/v", "user", 1, "", fields, {"entry": "", "text": "{{ title }}"})


def test_fingerprint_follows_what_affects_the_text_and_nothing_else():
    base = item_template()
    same = [
        replace(base, name="item/other"),
        replace(base, version=9),
        replace(base, description="other words"),
        replace(base, language="zh"),
        replace(base, fields={"title": Field(True, "other words")}),
    ]
    other = [
        replace(base, parts={"text": "{{ title }} "}),
        replace(base, fields={"title": Field(False, "name")}),
        replace(base, fields={**base.fields, "year": Field(False, "")}),
    ]
    assert {template.fingerprint for template in same} == {base.fingerprint}
    assert len({base.fingerprint, *(template.fingerprint for template in other)}) == 4


@pytest.mark.parametrize("template", list_templates(), ids=lambda template: template.name)
def test_dict_round_trip_through_json(template):
    back = Template.from_dict(json.loads(json.dumps(template.to_dict())))
    assert back == template
    assert back.fingerprint == template.fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "1"}, "version must be of type int, not str"),
        ({"version": True}, "version must be of type int, not bool"),
        ({"colour": "red"}, "has unknown colour"),
        ({"parts": {"text": 3}}, "part 'text' must be text"),
        ({"fields": {"title": {"required": True}}}, "field 'title' lacks description"),
        ({"fields": {"title": "yes"}}, "must be a table"),
    ],
)
def test_from_dict_names_what_is_wrong(change, message):
    with pytest.raises(TemplateError, match=message):
        Template.from_dict(item_template().to_dict() | change)


def test_language_is_english_unless_said():
    data = item_template().to_dict()
    assert data.pop("language") == "en"
    assert Template.from_dict(data) == item_template()
    assert Template.from_dict(data | {"language": "zh-Hant"}).language == "zh-Hant"
    with pytest.raises(TemplateError, match="item/test: language 'Chinese' is not a language code, such as en"):
        Template.from_dict(data | {"language": "Chinese"})


def test_from_dict_names_what_is_missing():
    data = item_template().to_dict()
    del data["parts"]
    with pytest.raises(TemplateError, match="item/test lacks parts"):
        Template.from_dict(data)
