"""How values are written on pages."""

from __future__ import annotations

import datetime
import json
import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["ago", "as_text", "environment", "number", "others", "title_of"]

TITLES = ("title", "name", "label", "headline")
LONG = 160
MENU = (
    ("/", "Try"),
    ("/trace", "Trace"),
    ("/compare", "Compare"),
    ("/prompts", "Prompts"),
    ("/catalog", "Catalog"),
    ("/monitor", "Monitor"),
    ("/evaluation", "Evaluation"),
)


def environment() -> Environment:
    """The templates, with everything escaped that is not markup of ours."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("llmrec.serve.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"ago": ago, "as_text": as_text, "number": number, "day": day}
    made.globals |= {"title_of": title_of, "others": others, "menu": MENU}
    return made


def title_of(item_id: str, fields: Mapping[str, Any]) -> str:
    """What to call an item: its title or name, else its first text, else its id."""
    by_name = {name.lower(): value for name, value in fields.items()}
    for name in TITLES:
        if isinstance(by_name.get(name), str) and by_name[name].strip():
            return str(by_name[name])
    texts = (value for value in fields.values() if isinstance(value, str) and value.strip())
    return next(texts, item_id)


def others(item_id: str, fields: Mapping[str, Any], most: int = 4) -> list[tuple[str, str]]:
    """Names and values of the fields beside the title that are not empty; long ones are cut."""
    title = title_of(item_id, fields)
    found = []
    for name, value in fields.items():
        text = as_text(value)
        if text and text != title and name != "item_id":
            found.append((name, text if len(text) <= LONG else f"{text[: LONG - 1].rstrip()}…"))
    return found[:most]


def as_text(value: Any) -> str:
    """A field's value for people, on one line."""
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return ", ".join(as_text(part) for part in value)
    if isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def number(value: float | int | None, digits: int = 3) -> str:
    """A number with so many significant digits; a dash for none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    if isinstance(value, int) or (abs(value) >= 10**digits):
        return f"{value:,.0f}"
    if value != 0 and abs(value) < 10**-digits:
        return f"{value:.1e}"
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value else 0}f}"


def ago(then: float | None, now: float | None = None) -> str:
    """How long since a moment, in seconds since the epoch."""
    if then is None:
        return "unknown"
    passed = max(0.0, (time.time() if now is None else now) - then)
    for seconds, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if passed >= seconds:
            count = int(passed // seconds)
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return "just now"


def day(then: float | None) -> str:
    """A moment as date and time (UTC)."""
    if then is None:
        return "unknown"
    return datetime.datetime.fromtimestamp(then, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
