"""Requests in a file, a line of JSON each, answered in batches."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec.cli import lists_file
from llmrec.cli.lists_file import Batch
from llmrec.errors import DataError

if TYPE_CHECKING:
    from llmrec.pipeline import Recommender
    from llmrec.types import Float32Array, Ranking

__all__ = ["Asked", "answers", "read_requests"]

KEYS = ("user_id", "history", "wish", "exclude", "allow", "k")


@dataclass(frozen=True, slots=True)
class Asked:
    """One line of a file of requests.

    Attributes:
        line: its number, from 1.
        place: the line and the file, for messages.
        user_id: a known user, or None.
        history: item ids, oldest first, instead of a known user; or None.
        wish: what is wished for, in words; or None.
        exclude: item ids that must not come back.
        allow: only these items may come back; None: all.
        k: how many items; None: as many as the others get.
    """

    line: int
    place: str
    user_id: str | None = None
    history: tuple[str, ...] | None = None
    wish: str | None = None
    exclude: tuple[str, ...] = ()
    allow: tuple[str, ...] | None = None
    k: int | None = None


def read_requests(source: str) -> Iterator[Asked]:
    """Read requests one by one; empty lines are passed over.

    Args:
        source: a file of JSON lines, or `-` for standard input.

    Raises:
        DataError: the file cannot be read, holds nothing, or a line is not a request; names the line.
    """
    name = "standard input" if source == "-" else source
    number = found = 0
    try:
        with nullcontext(sys.stdin) if source == "-" else Path(source).open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    found += 1
                    yield _parse(line, number, f"line {number} of {name}")
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8 after line {number}: {error}") from error
    except FileNotFoundError as error:
        raise DataError(f"there is no file {name}") from error
    except OSError as error:
        raise DataError(f"cannot read the requests in {name}: {error.strerror or error}") from error
    if found == 0:
        raise DataError(f'{name} holds no requests; write one a line, such as {{"user_id": "42"}}')


def _parse(line: str, number: int, place: str) -> Asked:
    """Read one line.

    Raises:
        DataError: it is not a request.
    """
    try:
        values = json.loads(line)
    except ValueError as error:
        raise DataError(f"{place} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise DataError(f'{place} must be an object such as {{"user_id": "42"}}, got {line.strip()[:60]}')
    values = {key: value for key, value in values.items() if value is not None}
    if unknown := [key for key in values if key not in KEYS]:
        near = difflib.get_close_matches(unknown[0], KEYS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise DataError(f"{place}: unknown key {unknown[0]!r}; {hint}known: {', '.join(KEYS)}")
    user, wish, k = values.get("user_id"), values.get("wish"), values.get("k")
    if ("user_id" in values) + ("history" in values) > 1 or not {"user_id", "history", "wish"} & set(values):
        raise DataError(f"{place} must say for whom: user_id or history, a wish, or both")
    if wish is not None and not (isinstance(wish, str) and wish.strip()):
        raise DataError(f"{place}: wish must be a text that says something, got {wish!r}")
    if k is not None and (isinstance(k, bool) or not isinstance(k, int) or k < 1):
        raise DataError(f"{place}: k must be a whole number of at least 1, got {k!r}")
    history, exclude, allow = (_ids(values, key, place) for key in ("history", "exclude", "allow"))
    return Asked(number, place, None if user is None else _id(user, place), history, wish, exclude or (), allow, k)


def _ids(values: Mapping[str, Any], key: str, place: str) -> tuple[str, ...] | None:
    if key not in values:
        return None
    if not isinstance(values[key], list):
        raise DataError(f"{place}: {key} must be a list of ids, got {values[key]!r}")
    return tuple(_id(value, place) for value in values[key])


def _id(value: Any, place: str) -> str:
    """An id; whole numbers are ids too, as in tables."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DataError(f"{place}: an id is text or a whole number, got {value!r}")
    return str(value)


def answers(recommender: Recommender, requests: Iterator[Asked], k: int) -> Iterator[Batch]:
    """Answer requests batch by batch, in their order.

    Args:
        recommender: what answers them.
        requests: the requests.
        k: how many items where a request does not say.

    Raises:
        DataError: a request names what is not known; says which line.
    """
    while batch := list(islice(requests, lists_file.BATCH)):
        keys: dict[str, list[Any]] = {
            "request": [asked.line for asked in batch],
            "user_id": [asked.user_id for asked in batch],
        }
        yield Batch(keys, _answer(recommender, batch, k))


def _answer(recommender: Recommender, batch: Sequence[Asked], k: int) -> Ranking:
    """Answer together what can be asked together, and put the lists back in order."""
    import numpy as np

    from llmrec.types import Ranking

    groups: dict[Any, list[int]] = {}
    for place, asked in enumerate(batch):
        groups.setdefault((asked.user_id is None, asked.allow, asked.k or k), []).append(place)
    width = min(max(count for _, _, count in groups), len(recommender.catalog))
    items = np.full((len(batch), width), -1, dtype=np.int32)
    scores = np.zeros((len(batch), width), dtype=np.float32)
    shown: Float32Array | None = None
    for (_, _, count), places in groups.items():
        found = _ask(recommender, [batch[place] for place in places], count)
        items[places, : found.items.shape[1]] = found.items
        scores[places, : found.items.shape[1]] = found.scores
        if found.propensities is not None:
            shown = np.zeros_like(scores) if shown is None else shown
            shown[places, : found.items.shape[1]] = found.propensities
    return Ranking(items, scores, shown)


def _ask(recommender: Recommender, alike: Sequence[Asked], k: int) -> Ranking:
    """Answer requests that differ in nothing but user, history, wish and exclusions."""
    try:
        queries = _queries(recommender, alike)
    except DataError as error:
        raise _located(recommender, alike) or error from error
    return recommender.recommend(queries, k)


def _located(recommender: Recommender, alike: Sequence[Asked]) -> DataError | None:
    """The error of the first request that fails alone, with its line."""
    for asked in alike:
        try:
            _queries(recommender, [asked])
        except DataError as error:
            return type(error)(f"{asked.place}: {error}")
    return None


def _queries(recommender: Recommender, alike: Sequence[Asked]) -> Any:
    known = alike[0].user_id is not None
    return recommender.queries(
        users=[asked.user_id or "" for asked in alike] if known else None,
        histories=None if known else [asked.history or () for asked in alike],
        wishes=[asked.wish for asked in alike] if any(asked.wish is not None for asked in alike) else None,
        exclude=[asked.exclude for asked in alike] if any(asked.exclude for asked in alike) else None,
        allow=alike[0].allow,
    )
