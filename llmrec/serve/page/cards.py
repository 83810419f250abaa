"""A bundle's card as HTML: what it says is text, whoever wrote it; no markup of its own, no pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

__all__ = ["card_html"]

_HEAD = re.compile(r"\A---\s*\n.*?\n---\s*\n", re.DOTALL)


def card_html(text: str) -> str:
    """Render a card (Markdown with a YAML head); the head is left out.

    Returns:
        HTML that is safe to show: raw HTML is escaped, links with scripts are not links, nothing has a style.
    """
    from markdown_it import MarkdownIt

    made = MarkdownIt("js-default", {"html": False, "linkify": False}).disable("image")
    tokens = made.parse(_HEAD.sub("", text, count=1))
    for token in tokens:
        token.attrs.pop("style", None)  # the alignment of cells; styles are not let through
        if token.type in {"heading_open", "heading_close"}:
            token.tag = f"h{min(6, int(token.tag[1]) + 2)}"  # below the page's own headings
    return str(made.renderer.render(_framed(tokens), made.options, {}))


def _framed(tokens: Sequence[Any]) -> list[Any]:
    """Tables in frames that scroll, and that the keyboard reaches."""
    from markdown_it.token import Token

    for token in tokens:
        if token.type in {"fence", "code_block"}:  # long ones scroll in themselves
            token.attrs |= {"tabindex": "0", "role": "region", "aria-label": "Code of the card"}

    found: list[Any] = []
    for token in tokens:
        if token.type == "table_open":
            attrs: dict[str, str | int | float] = {
                "class": "scroll",
                "tabindex": "0",
                "role": "region",
                "aria-label": "Table of the card",
            }
            found.append(Token("frame_open", "div", 1, attrs=attrs, block=True))
        found.append(token)
        if token.type == "table_close":
            found.append(Token("frame_close", "div", -1, block=True))
    return found
