"""The page of a comparison: Markdown with pictures beside it, HTML with everything in it, nothing unescaped."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from llmrec.errors import ConfigError
from llmrec.lab import Lab, check_page, compare_templates, verdict, write_page

pytest.importorskip("matplotlib")


@pytest.fixture
def found(ground, store, templates, fake):
    hostile = replace(templates[1], description="<script>alert(1)</script>", parts={**templates[1].parts})
    return compare_templates(Lab(ground, store, "<b>shop</b> & sons"), [fake], [templates[0], hostile])


def test_markdown_has_tables_pictures_and_ends_in_words(found, tmp_path):
    path = write_page(tmp_path / "page.md", found, command="llmrec prompt compare a b")
    text = path.read_text()
    assert text.rstrip().splitlines()[-1] == verdict(found)
    assert "llmrec prompt compare a b" in text
    assert "| user/genres" in text
    assert f"Data {found.data_hash[:12]}" in text
    linked = [line.partition("](")[2].rstrip(")") for line in text.splitlines() if line.startswith("![")]
    assert len(linked) == 2
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in linked)
    assert "validation cases" in text


def test_html_holds_everything_and_runs_nothing(found, tmp_path):
    text = write_page(tmp_path / "page.html", found).read_text()
    tags = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            tags.append((tag, dict(attrs)))

    Reader().feed(text)
    assert [a["src"][:22] for tag, a in tags if tag == "img"] == ["data:image/png;base64,"] * 2
    assert not [tag for tag, _ in tags if tag in ("script", "b")]
    assert "&lt;script&gt;" in text
    assert "&lt;b&gt;shop&lt;/b&gt; &amp; sons" in text


def test_without_plots(found, tmp_path):
    text = write_page(tmp_path / "page.md", found, plots=False).read_text()
    assert "![" not in text
    assert not (tmp_path / "page-files").exists()


@pytest.mark.parametrize("name", ["page.pdf", "nowhere/page.md"])
def test_a_place_that_will_not_do_is_said_before_the_work(tmp_path, name):
    with pytest.raises(ConfigError, match="--report"):
        check_page(tmp_path / name, plots=False)
