import pytest

from llmrec.errors import TemplateError
from llmrec.text import library, list_templates, load_template


def test_names_kinds_and_folders_agree():
    templates = list_templates()
    names = [t.name for t in templates]
    assert names == sorted(names)
    assert {"item/labelled", "item/title", "pair/history", "user/profile", "user/recent"} <= set(names)
    assert all(t.name.split("/")[0] == t.kind for t in templates)
    assert all(t.description and all(f.description for f in t.fields.values()) for t in templates)


def test_unknown_name_names_the_nearest():
    with pytest.raises(TemplateError, match=r"'item/titel'; did you mean 'item/title'\? Known are: chat/"):
        load_template("item/titel")


def test_own_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'kind = "item"\nversion = 2\ndescription = "mine"\n'
        '[fields.title]\nrequired = true\ndescription = "name"\n[parts]\ntext = "A: {{ title }}"\n'
    )
    template = load_template(str(path))
    assert (template.name, template.version, template.parts["text"]) == ("item/mine", 2, "A: {{ title }}")


def test_missing_and_broken_files_are_clear(tmp_path):
    with pytest.raises(TemplateError, match=r"nothing\.toml cannot be read: No such file"):
        load_template(str(tmp_path / "nothing.toml"))
    broken = tmp_path / "broken.toml"
    broken.write_text("kind = ")
    with pytest.raises(TemplateError, match=r"broken\.toml is not valid TOML: Invalid value"):
        load_template(str(broken))
    broken.write_bytes(b"kind = '\xff'")
    with pytest.raises(TemplateError, match="not valid TOML"):
        load_template(str(broken))


def test_templates_inside_the_package_come_first(tmp_path, monkeypatch):
    inside = tmp_path / "llmrec" / "prompts" / "item"
    inside.mkdir(parents=True)
    (tmp_path / "prompts").mkdir()
    (inside / "only.toml").write_text('kind="item"\nversion=1\ndescription="x"\n[parts]\ntext="x"\n')
    monkeypatch.setattr(library, "__file__", str(tmp_path / "llmrec" / "text" / "library.py"))
    assert [t.name for t in list_templates()] == ["item/only"]


def test_no_prompts_folder_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(library, "__file__", str(tmp_path / "llmrec" / "text" / "library.py"))
    with pytest.raises(TemplateError, match="prompts folder is missing"):
        list_templates()
