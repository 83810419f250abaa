"""`llmrec prompt render`: texts, tokens and what was cut, from every place data can come from."""

from __future__ import annotations

import re

import numpy as np
import pytest

from llmrec.models import TextEncoder
from llmrec.testing.data import tiny_catalog, tiny_interactions
from llmrec.text import list_templates, load_template, render_items, render_users

TEXT_KEYS = {"of", "id", "text", "tokens", "limit", "over", "unknown", "pieces", "history", "left_out", "shortened"}


@pytest.fixture(scope="module")
def encoder(bert):
    return TextEncoder.load(str(bert), max_tokens=40)


@pytest.fixture
def render(run, bert, data):
    """Run the command on the test's data with the tiny encoder."""

    def call(template, *options, source=("--dataset", data), **how):
        return run("prompt", "render", template, *source, "--model", bert, *options, **how)

    return call


def test_items_as_the_encoder_reads_them(render, encoder):
    found = render("item/labelled", "--item", "i3,i1", "--max-tokens", 40, "--json").json
    catalog = tiny_catalog(30)
    texts = render_items(load_template("item/labelled"), catalog, np.array([3, 1], np.int32))
    assert [(t["of"], t["id"], t["text"]) for t in found["texts"]] == [
        ("item", "i3", texts[0]),
        ("item", "i1", texts[1]),
    ]
    assert all(set(text) == TEXT_KEYS for text in found["texts"])
    assert [t["tokens"] for t in found["texts"]] == encoder.count_tokens(texts).tolist()
    assert [len(t["pieces"]) for t in found["texts"]] == [t["tokens"] for t in found["texts"]]
    assert {t["limit"] for t in found["texts"]} == {38}
    assert [t["over"] for t in found["texts"]] == [max(0, t["tokens"] - 38) for t in found["texts"]]
    assert found["model"] == {"name": encoder.name, "max_tokens": 40, "text_tokens": 38}
    assert found["template"]["fingerprint"] == load_template("item/labelled").fingerprint
    assert found["unknown_share"] == 0


def test_users_and_what_there_is_no_room_for(render, encoder):
    found = render("user/recent", "--user", "u1,u5", "--max-tokens", 40, "--json").json["texts"]
    catalog = tiny_catalog(30)
    log = tiny_interactions(1, catalog, n_users=40)
    queries = log.queries(log.users.rows(["u1", "u5"]).astype(np.int64))
    users = render_users(load_template("user/recent"), catalog, queries, 38, encoder)
    assert [t["text"] for t in found] == users.texts
    assert [t["left_out"] for t in found] == users.truncated.tolist()
    assert [t["history"] for t in found] == np.diff(queries.offsets).tolist()
    assert sum(t["left_out"] for t in found) > 0
    assert all(t["tokens"] <= 38 and t["over"] == 0 for t in found)


def test_a_history_and_a_wish(render):
    found = render("user/recent", "--history", "i1,i2", "--wish", "blue zoo", "--json").json["texts"]
    catalog = tiny_catalog(30)
    titles = render_items(load_template("item/title"), catalog)
    assert [(t["id"], t["text"], t["history"]) for t in found] == [(None, f"blue zoo; {titles[2]}; {titles[1]}", 2)]
    only = render("user/recent", "--wish", "blue zoo", "--json").json["texts"][0]
    assert (only["text"], only["history"]) == ("blue zoo", 0)
    both = render("user/recent", "--user", "u1,u2", "--wish", "zoo", "--json").json["texts"]
    assert [t["text"].startswith("zoo; ") for t in both] == [True, True]
    cut = render("user/recent", "--wish", "blue zoo " * 60, "--max-tokens", 20, "--json").json["texts"][0]
    assert (cut["shortened"], cut["over"]) == (True, 0)


def test_pairs_have_both_sides(render, bert):
    found = render("pair/history", "--user", "u1", "--item", "i1,i2", "--max-tokens", 60, "--json").json
    assert [t["of"] for t in found["texts"]] == ["user", "item", "item"]
    assert [t["limit"] for t in found["texts"]] == [38, 18, 18]
    assert found["model"]["text_tokens"] == 57


def test_the_first_three_where_none_are_named(render):
    assert [t["id"] for t in render("item/title", "--json").json["texts"]] == ["i0", "i1", "i2"]
    users = render("user/recent", "--json").json["texts"]
    assert len({t["id"] for t in users}) == 3


def test_from_files_bundles_and_a_catalog_alone(render, data, files, text_bundle):
    told = [
        render("user/recent", "--user", "u1", "--json", source=source).json["texts"]
        for source in (("--dataset", data), files, ("--bundle", text_bundle))
    ]
    assert told[0] == told[1] == told[2]
    alone = render("item/title", "--json", source=files[:2])
    assert alone.json["texts"][0]["id"] == "i0"
    missing = render("user/recent", source=files[:2])
    assert (missing.code, missing.out) == (2, "")
    assert "--interactions" in missing.err
    typed = render("user/recent", "--history", "i1", "--json", source=files[:2])
    assert typed.json["texts"][0]["history"] == 1


def test_profiles_of_a_data_set_are_shown(render, data, tmp_path):
    for name in ("items.csv", "interactions.csv"):
        (tmp_path / name).write_bytes((data / name).read_bytes())
    (tmp_path / "users.csv").write_text("user_id,age,occupation\nu1,31,writer\n")
    found = render("user/profile", "--user", "u1,u2", "--json", source=("--dataset", tmp_path)).json["texts"]
    assert found[0]["text"].startswith("Age: 31. Occupation: writer. Most recent first: ")
    assert found[1]["text"].startswith("Most recent first: ")


def test_profiles_and_fields_as_fit_would_read_them(render, data, files, tmp_path):
    (tmp_path / "people.csv").write_text("user_id,age\nu1,31\n")
    source = (*files, "--user-profiles", tmp_path / "people.csv")
    found = render("user/profile", "--user", "u1", "--json", source=source).json["texts"]
    assert found[0]["text"].startswith("Age: 31. Most recent first: ")
    table = f'dataset = "{data}"\nitem_fields = {{ title = "headline", genres = "title" }}\n'
    (tmp_path / "shop.toml").write_text(f"[data]\n{table}")
    renamed = render("item/title", "--item", "i0,i1", "--json", source=("--config", tmp_path / "shop.toml")).json
    assert [t["text"] for t in renamed["texts"]] == ["Drama", "Comedy"]


@pytest.mark.filterwarnings("default::llmrec.text.UnknownTokensWarning")
def test_fit_warns_of_a_catalog_the_encoder_cannot_read(run, data, text_config, tmp_path):
    (tmp_path / "interactions.csv").write_bytes((data / "interactions.csv").read_bytes())
    lines = [f"i{row},电影名字{row}" for row in range(30)]
    (tmp_path / "items.csv").write_text("\n".join(["item_id,title", *lines]), encoding="utf-8")
    result = run("fit", "--dataset", tmp_path, "--config", text_config, "--out", tmp_path / "bundle")
    assert result.code == 0
    (said,) = [line for line in result.err.splitlines() if line.startswith("llmrec: warning: ")]
    assert "of the tokens of 30 texts are unknown" in said
    assert "'电影名字0'" in said


def test_a_template_of_your_own(render, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'kind = "item"\nversion = 3\ndescription = "mine"\n'
        '[fields.title]\nrequired = true\ndescription = "name"\n[parts]\ntext = "<{{ title }}>"\n'
    )
    found = render(str(path), "--item", "i1", "--json").json
    assert (found["template"]["name"], found["template"]["version"]) == ("item/mine", 3)
    assert found["texts"][0]["text"] == "<" + render_items(load_template("item/title"), tiny_catalog(30))[1] + ">"


def test_on_the_screen(render):
    shown = render("item/labelled", "--item", "i3", "--max-tokens", 12)
    lines = shown.out.splitlines()
    assert (shown.code, shown.err) == (0, "")
    assert lines[0].startswith("template item/labelled, version 1, ")
    assert "reads 12 tokens of a text, 10 of them text; 0.0% of the tokens below are unknown" in lines[1]
    assert lines[3].startswith("item i3: ")
    assert lines[3].endswith(" after || not read")
    before, after = lines[5].split(" || ")
    assert len(before.split()) == 10
    assert int(lines[3].split()[2]) == 10 + len(after.split())
    users = render("user/recent", "--user", "u5", "--max-tokens", 40).out.splitlines()
    assert re.fullmatch(r"user u5: \d+ of 38 tokens, \d of \d items", users[3])


@pytest.mark.filterwarnings("always::llmrec.text.UnknownTokensWarning")
def test_unknown_tokens_are_counted_and_warned_of(render):
    result = render("user/recent", "--wish", "一部电影 zoo", "--json")
    assert result.json["texts"][0]["unknown"] == 4
    assert result.json["unknown_share"] == pytest.approx(4 / 7)
    assert result.err.count("warning: 57% of the tokens") == 1
    assert "multilingual" in result.err
    assert "4 unknown" in render("user/recent", "--wish", "一部电影 zoo").out


def test_the_list(run):
    found = run("prompt", "list", "--json").json
    assert [entry["name"] for entry in found] == [template.name for template in list_templates()]
    assert all(entry["language"] in {"en", "zh"} and len(entry["fingerprint"]) == 64 for entry in found)
    assert found[0]["fields"][0] == {
        "name": "title",
        "required": True,
        "description": "The item's name.",
        "scope": "item",
    }
    table = run("prompt", "list")
    assert (table.code, table.err) == (0, "")
    assert all(entry["name"] in table.out and entry["fingerprint"][:12] in table.out for entry in found)


@pytest.mark.parametrize(
    ("template", "options", "code", "said"),
    [
        ("item/titel", [], 2, "did you mean 'item/title'?"),
        ("item/title", ["--item", "i777"], 3, "i777"),
        ("user/recent", ["--user", "u777"], 3, "u777"),
        ("user/recent", ["--user", "u1", "--history", "i1"], 2, "exclude each other"),
        ("user/recent", ["--item", "i1"], 2, "--user"),
        ("item/title", ["--user", "u1"], 2, "--user is for user and pair templates"),
        ("item/title", ["--wish", "zoo"], 2, "--wish is for user and pair templates"),
        ("user/recent", ["--wish", " "], 3, "the wish is empty"),
        ("user/recent", ["--user", "u1", "--max-tokens", "2"], 2, "max_tokens=2 is out of range"),
        ("pair/history", ["--max-tokens", "20"], 2, "leaves no room for a user"),
        ("item/title", ["--bundle", "x"], 2, "--bundle brings its own data"),
        ("item/title", ["--items", "x.csv"], 2, "exclude each other"),
    ],
)
def test_refusals(render, template, options, code, said):
    result = render(template, *options)
    assert (result.code, result.out) == (code, "")
    assert said in result.err
    assert "Traceback" not in result.err


def test_a_template_and_data_must_be_named(run, data):
    nothing = run("prompt", "render", "--dataset", data)
    assert (nothing.code, nothing.out) == (2, "")
    assert "TEMPLATE" in nothing.err
    nowhere = run("prompt", "render", "item/title")
    assert nowhere.code == 2
    assert "--dataset" in nowhere.err
