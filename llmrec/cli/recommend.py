"""``llmrec recommend``: for known users, a history typed in, or a wish; to the screen or to a file."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmrec.cli.lists_file import SUFFIXES, write_lists
from llmrec.cli.output import print_json, progress
from llmrec.cli.search import show_lists
from llmrec.cli.source import (
    BundleOption,
    CountOption,
    HoldoutChoice,
    InteractionsOption,
    JsonOption,
    split_ids,
)
from llmrec.errors import ConfigError, DataError, LeakageError

if TYPE_CHECKING:
    from llmrec.data import Interactions
    from llmrec.pipeline import Recommender
    from llmrec.types import Int64Array, Ranking

__all__ = ["recommend"]

UsersOption = Annotated[str | None, typer.Option("--users", metavar="IDS|all", help="Known users, comma-separated.")]
HistoryOption = Annotated[
    str | None, typer.Option("--history", metavar="ITEMS", help="Item ids, comma-separated, oldest first.")
]
WishOption = Annotated[str | None, typer.Option("--wish", metavar="TEXT", help="What is wished for, in words.")]
HoldoutOption = Annotated[
    HoldoutChoice, typer.Option("--holdout", help="last: histories end before each user's last interaction.")
]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Write user_id, rank, item_id, score (.parquet, .csv).")
]


def recommend(
    bundle: BundleOption,
    users: UsersOption = None,
    history: HistoryOption = None,
    wish: WishOption = None,
    k: CountOption = 10,
    holdout: HoldoutOption = HoldoutChoice.none,
    interactions: InteractionsOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Recommend items. Histories come from the bundle, or from a newer log given with --interactions."""
    from llmrec.pipeline import load

    if wish is not None and not wish.strip():
        raise DataError("the wish is empty; say what is wished for, or leave --wish out")
    if users is None:
        _check_alone(history, wish, {"--out": out, "--interactions": interactions, "--holdout": _set(holdout)})
        _recommend_to_anybody(load(bundle), history, wish, k, as_json)
        return
    if history is not None:
        raise ConfigError("--users and --history exclude each other: a known user has a history")
    if out is not None and out.suffix not in SUFFIXES:
        raise ConfigError(f"--out {out}: the name must end in {' or '.join(SUFFIXES)}")
    names = None if users == "all" else split_ids(users, "--users")
    recommender = load(bundle)
    _check_understood(recommender, wish)
    log = _histories(recommender, interactions, holdout)
    ids = list(log.users.ids) if names is None else names
    rows = log.users.rows(ids).astype("int64")
    answer = partial(_answer, recommender, log, wish, k)
    if out is None:
        asked = [_asked(user_id=user, wish=wish) for user in ids]
        show_lists(recommender, answer(rows), asked, as_json)
        return
    with progress() as say:
        lines = write_lists(out, recommender.catalog, log.users, rows, answer, say)
    if as_json:
        print_json({"out": str(out.resolve()), "users": len(ids), "k": k, "rows": lines})
    else:
        typer.echo(f"wrote {out}: {len(ids):,} users, up to {k} items each")


def _set(holdout: HoldoutChoice) -> HoldoutChoice | None:
    return None if holdout is HoldoutChoice.none else holdout


def _check_alone(history: str | None, wish: str | None, needs_users: dict[str, Any]) -> None:
    """Raise ConfigError unless there is something to go by, and no option that would be left unheeded."""
    if history is None and wish is None:
        raise ConfigError("say for whom: --users IDS (or all), --history ITEMS, or --wish TEXT")
    if unheeded := [option for option, value in needs_users.items() if value is not None]:
        raise ConfigError(f"{unheeded[0]} is for known users; add --users IDS (or all)")


def _recommend_to_anybody(
    recommender: Recommender, history: str | None, wish: str | None, k: int, as_json: bool
) -> None:
    past = None if history is None else split_ids(history, "--history")
    _check_understood(recommender, wish)
    queries = recommender.queries(histories=None if past is None else [past], wishes=None if wish is None else [wish])
    show_lists(recommender, recommender.recommend(queries, k), [_asked(history=past, wish=wish)], as_json)


def _check_understood(recommender: Recommender, wish: str | None) -> None:
    """Raise ConfigError where a wish would be left unheeded."""
    from llmrec.pipeline import Searches

    retrievers = [retriever for stage in recommender.stages for retriever, _ in stage.retrievers]
    scorers = [scorer for stage in recommender.stages for scorer in stage.scorers]
    if wish is None or scorers or any(isinstance(retriever, Searches) for retriever in retrievers):
        return
    raise ConfigError(
        "this bundle knows items by their interactions only, so --wish would change nothing; "
        "fit one with a dense retriever"
    )


def _asked(**parts: Any) -> dict[str, Any]:
    return {name: value for name, value in parts.items() if value is not None}


def _histories(recommender: Recommender, interactions: Path | None, holdout: HoldoutChoice) -> Interactions:
    """The log that histories come from, without what must not be seen."""
    from llmrec.data import Interactions, without_last
    from llmrec.evaluate import check_unseen

    about = recommender.about or {}
    if interactions is not None:
        log = Interactions.from_file(interactions, recommender.catalog)
        if holdout is HoldoutChoice.none:
            return log
        check_unseen(recommender, log)
        return without_last(log, about["min_interactions"])
    if recommender.histories is None:
        raise ConfigError("this bundle stores no users; give their log with --interactions FILE")
    if holdout is HoldoutChoice.last and about.get("holdout") != "last":
        raise LeakageError(
            "this bundle was fitted on every interaction, the last ones too, so nothing measured with it would "
            "be honest; fit one with: llmrec fit --holdout last"
        )
    return recommender.histories


def _answer(recommender: Recommender, log: Interactions, wish: str | None, k: int, rows: Int64Array) -> Ranking:
    """The lists of known users, Int64[n] rows into the log; all with the same wish, if any."""
    queries = log.queries(rows)
    if wish is not None:
        queries = replace(queries, texts=[wish] * len(queries))
    return recommender.recommend(queries, k)
