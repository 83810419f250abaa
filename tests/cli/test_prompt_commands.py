"""`llmrec prompt list|show|new|test|diff`: templates themselves, and what data make of them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from llmrec.text import list_templates, load_template


def test_a_folder_of_your_own_is_listed_too(run, tmp_path):
    assert run("prompt", "new", tmp_path / "mine.toml", "--kind", "user").code == 0
    found = run("prompt", "list", "--prompts", tmp_path, "--kind", "user", "--json").json
    shipped = [template.name for template in list_templates() if template.kind == "user"]
    assert [entry["name"] for entry in found] == [*shipped, "user/mine"]
    assert found[-1]["fingerprint"] == load_template(str(tmp_path / "mine.toml")).fingerprint


def test_show_has_fields_and_a_source_that_can_be_saved(run, tmp_path):
    shown = run("prompt", "show", "user/profile")
    assert (shown.code, shown.err) == (0, "")
    template = load_template("user/profile")
    assert f"user/profile (user), version 2, en, {template.fingerprint[:12]}" in shown.out
    assert "Occupation, as the data names it." in shown.out
    source = shown.out[shown.out.index('kind = "user"') :]
    (tmp_path / "copy.toml").write_text(source)
    assert load_template(str(tmp_path / "copy.toml")).fingerprint == template.fingerprint


def test_new_says_what_next_and_never_writes_over(run, tmp_path):
    path = tmp_path / "mine.toml"
    first = run("prompt", "new", path, "--fields", "title,genres")
    assert (first.code, first.err) == (0, "")
    assert f"next: llmrec prompt render {path}" in first.out
    before = path.read_bytes()
    again = run("prompt", "new", path)
    assert (again.code, again.out) == (2, "")
    assert "is there already" in again.err
    assert path.read_bytes() == before


def test_a_template_that_suits_is_ok(run, data, bert):
    result = run("prompt", "test", "item/title", "--dataset", data, "--model", bert, "--json")
    assert result.code == 0
    assert result.json["ok"] is True
    assert {check["level"] for check in result.json["checks"]} == {"ok", "warning"}  # "[SEP]" in a title
    assert [check["name"] for check in result.json["checks"] if check["count"]] == ["control tokens in data"]
    table = run("prompt", "test", "user/profile", "--dataset", data, "--model", bert)
    assert "not known of users: age, gender, occupation" in table.out


def test_one_that_does_not_fails(run, data, bert, tmp_path):
    (tmp_path / "bad.toml").write_text(
        'kind = "item"\nversion = 1\ndescription = "bad"\n'
        '[fields.genres]\nrequired = false\ndescription = "g"\n[parts]\ntext = "{{ genres }}"\n'
    )
    result = run("prompt", "test", tmp_path / "bad.toml", "--dataset", data, "--model", bert, "--json")
    assert result.code == 3
    found = {check["name"]: check for check in result.json["checks"]}
    assert (found["empty item texts"]["level"], found["empty item texts"]["count"]) == ("error", 6)
    assert found["item texts of several items"]["count"] == 24


def test_diff_shows_sources_and_the_same_rows(run, data, bert):
    options = ("prompt", "diff", "user/recent", "user/genres", "--dataset", data, "--model", bert)
    found = run(*options, "--item", "i0", "--user", "u1", "--json").json
    assert "--- user/recent" in found["source"]
    assert any(line.startswith("+entry = ") for line in found["source"])
    assert [(text["part"], text["id"]) for text in found["texts"]] == [("entry", "i0"), ("text", "u1")]
    assert found["texts"][0]["after"] == found["texts"][0]["before"] + " (Drama)"
    assert found["texts"][0]["tokens"][1] > found["texts"][0]["tokens"][0]
    shown = run(*options)
    assert shown.code == 0
    assert "entry of i0: " in shown.out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["show", "item/titel"], 2, "did you mean 'item/title'?"),
        (["list", "--kind", "film"], 2, "not one of chat, explain, item, pair, user"),
        (["list", "--prompts", "nowhere"], 2, "is no folder"),
        (["diff", "item/title", "user/recent"], 2, "only templates of one kind"),
        (["new", "mine.txt"], 2, "must end in .toml"),
        (["compare", "item/title", "user/recent"], 2, "several kinds (item, user): say with --on"),
        (["compare", "item/title", "--report", "page.pdf"], 2, "must end in .md or .html"),
        (["search", "item/title", "--out", "better.txt"], 2, "must end in .toml"),
    ],
)
def test_refusals(run, words, code, said):
    result = run("prompt", *words)
    assert (result.code, result.out) == (code, "")
    assert said in result.err
    assert "Traceback" not in result.err


def test_a_broken_file_of_a_folder_is_named(run, tmp_path):
    (tmp_path / "broken.toml").write_text('kind = "item"\n')
    result = run("prompt", "list", "--prompts", tmp_path)
    assert result.code == 2
    assert "broken.toml" in result.err


def test_help_imports_no_torch():
    code = (
        "import sys\nfrom llmrec.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'transformers', 'optuna', 'matplotlib'} & set(sys.modules)))"
    )
    for words in (
        ["prompt", "--help"],
        ["prompt", "compare", "--help"],
        ["prompt", "list"],
        ["prompt", "show", "item/title"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True, timeout=120
        )
        assert done.stdout.splitlines()[-1] == "[]", words
