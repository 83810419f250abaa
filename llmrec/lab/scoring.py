"""How judges put a template to a scorer: made from a file of it, timed, its tokens counted."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np

from llmrec.component import GROUP, FitContext, find_component
from llmrec.lab.ground import Shortlists
from llmrec.lab.write import template_toml
from llmrec.rerank.language import ANSWER, Reader
from llmrec.retrieve.base import Scorer
from llmrec.text import Template
from llmrec.types import Float32Array, Int32Array, Int64Array

__all__ = ["batches", "chat_room", "fitted", "maker_of", "mean_of", "pair_tokens", "timed"]

BATCH = 256
"""Users that are asked for at once."""


def fitted(name: str, settings: Mapping[str, Any], templates: Mapping[str, Template], context: FitContext) -> Any:
    """Make a component that reads templates from files."""
    component = find_component(name)
    with tempfile.TemporaryDirectory(prefix="llmrec-lab-") as folder:
        paths = {}
        for key, template in templates.items():
            path = Path(folder) / f"{key}.toml"
            path.write_text(template_toml(template), encoding="utf-8")
            paths[key] = str(path)
        return component.fit(context, component.config.model_validate({**settings, **paths}))


def maker_of(name: str) -> str:
    """The package that registers a component, and its version; "" for llmrec's own."""
    for point in entry_points(group=GROUP, name=name):
        if point.dist is not None and point.dist.name != "llmrec":
            return f"{point.dist.name} {point.dist.version}"
    return ""


def timed(scorer: Scorer, lists: Shortlists) -> tuple[Float32Array, float]:
    """Score all candidates; Float32[n, k] and milliseconds a user, the first batch's model already read."""
    queries = lists.cases.queries
    some = np.flatnonzero((lists.items >= 0).any(axis=1))[:1].astype(np.int64)
    scorer.score(queries.take(some), lists.items[some, :1])
    start, scores = time.perf_counter(), []
    for rows in batches(len(lists.cases)):
        scores.append(scorer.score(queries.take(rows), lists.items[rows]))
    return np.concatenate(scores), 1000 * (time.perf_counter() - start) / len(lists.cases)


def pair_tokens(scorer: Any, lists: Shortlists, template: Template) -> dict[str, float]:
    """Mean tokens of what is written of a user and of a candidate, as the model reads them."""
    from llmrec.rerank import user_budget
    from llmrec.text import render_items, render_users

    reader = getattr(scorer, "reader", scorer)
    model, catalog = getattr(reader, "model", None), getattr(reader, "catalog", None)
    if model is None or catalog is None:  # a scorer of somebody else's, of which no more is known
        return {}
    shown: Int32Array = np.unique(lists.items[lists.items >= 0])
    items = model.count_tokens(render_items(template, catalog, shown, part="item"))
    budget = chat_room(reader) if template.kind == "chat" else user_budget(model.max_tokens, reader.item_tokens)
    users = model.count_tokens(render_users(template, catalog, lists.cases.queries, budget, model, part="user").texts)
    return {"item": mean_of(np.minimum(items, reader.item_tokens)), "user": mean_of(users)}


def chat_room(reader: Reader) -> int:
    """Tokens of a chat that are the user's: what the chat around, its question, the item and the answer leave over."""
    return reader.model.max_tokens - len(reader.chats([reader.question([])])[0]) - reader.item_tokens - ANSWER


def mean_of(counts: Sequence[int] | np.ndarray[Any, Any]) -> float:
    """Mean of counts, 0 of none."""
    return float(np.mean(counts)) if len(counts) else 0.0


def batches(count: int) -> list[Int64Array]:
    """Rows of cases, so many at once."""
    return [np.arange(start, min(start + BATCH, count), dtype=np.int64) for start in range(0, count, BATCH)]
