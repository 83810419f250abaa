"""``llmrec recommend``: for known users, a history typed in, or a wish; to the screen or to a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmrec.cli import lists_file
from llmrec.cli.ids_file import read_ids
from llmrec.cli.lists_file import Batch, check_out, json_lines, write_lists
from llmrec.cli.output import print_json, progress
from llmrec.cli.requests_file import Asked, answers, read_requests
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
    from llmrec.types import Ranking

__all__ = ["HistoryOption", "WishOption", "check_understood", "recommend"]

UsersOption = Annotated[
    str | None,
    typer.Option(
        "--users",
        metavar="IDS|FILE|-|all",
        help="Known users: ids separated by commas, or a file or stdin with one a line (for ids that hold commas).",
    ),
]
RequestsOption = Annotated[
    str | None,
    typer.Option(
        "--requests",
        metavar="FILE|-",
        help='A line of JSON a request: "user_id" or "history", "wish", "exclude", "allow", "k". Answers are JSON '
        "lines too, or go to --out.",
    ),
]
HistoryOption = Annotated[
    str | None, typer.Option("--history", metavar="ITEMS", help="Item ids, comma-separated, oldest first.")
]
WishOption = Annotated[str | None, typer.Option("--wish", metavar="TEXT", help="What is wished for, in words.")]
HoldoutOption = Annotated[
    HoldoutChoice, typer.Option("--holdout", help="Histories as the bundle was fitted with this holdout.")
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Write user_id, rank, item_id, score (.parquet, .csv, .jsonl)."),
]


def recommend(
    bundle: BundleOption,
    users: UsersOption = None,
    requests: RequestsOption = None,
    history: HistoryOption = None,
    wish: WishOption = None,
    k: CountOption = 10,
    holdout: HoldoutOption = HoldoutChoice.none,
    interactions: InteractionsOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Recommend items. Histories come from the bundle, or from a newer log given with --interactions."""
    from llmrec.opening import load

    if wish is not None and not wish.strip():
        raise DataError("the wish is empty; say what is wished for, or leave --wish out")
    if users is None and requests is None:
        _check_alone(history, wish, {"--out": out, "--interactions": interactions, "--holdout": _set(holdout)})
        _recommend_to_anybody(load(bundle), history, wish, k, as_json)
        return
    _check_one_way(users, requests, history, wish)
    if out is not None:
        check_out(out)
    names = None if users in (None, "all") else read_ids(users or "", "--users")
    recommender = load(bundle)
    check_understood(recommender, wish)
    if requests is not None:
        if recommender.histories is not None or interactions is not None or holdout is not HoldoutChoice.none:
            recommender = replace(recommender, histories=_histories(recommender, interactions, holdout))
        _recommend_to_requests(recommender, requests, k, out, as_json)
        return
    log = _histories(recommender, interactions, holdout)
    ids = list(log.users.ids) if names is None else names
    answer = partial(_answer, replace(recommender, histories=log), wish, k)
    if out is None:
        show_lists(recommender, answer(ids), [_asked(user_id=user, wish=wish) for user in ids], as_json)
    else:
        _write_to_users(recommender, ids, answer, k, out, as_json)


def _write_to_users(
    recommender: Recommender,
    ids: Sequence[str],
    answer: Callable[[Sequence[str]], Ranking],
    k: int,
    out: Path,
    as_json: bool,
) -> None:
    """Write the lists of known users; memory holds one batch of them."""
    parts = (ids[start : start + lists_file.BATCH] for start in range(0, len(ids), lists_file.BATCH))
    batches = (Batch({"user_id": part}, answer(part)) for part in parts)
    with progress() as say:
        told = partial(_say_how_many, say, f"of {len(ids):,} users")
        _, lines = write_lists(out, recommender.catalog, batches, told)
    if as_json:
        print_json({"out": str(out.resolve()), "users": len(ids), "k": k, "rows": lines})
    else:
        typer.echo(f"wrote {out}: {len(ids):,} users, up to {k} items each")


def _recommend_to_requests(recommender: Recommender, source: str, k: int, out: Path | None, as_json: bool) -> None:
    """Answer a file of requests; memory holds one batch of them."""
    batches = answers(recommender, _understood(recommender, read_requests(source)), k)
    if out is None:
        for batch in batches:
            for line in json_lines(recommender.catalog, batch):
                typer.echo(line, nl=False)
        return
    with progress() as say:
        lists, lines = write_lists(out, recommender.catalog, batches, partial(_say_how_many, say, "requests"))
    if as_json:
        print_json({"out": str(out.resolve()), "requests": lists, "k": k, "rows": lines})
    else:
        typer.echo(f"wrote {out}: the answers to {lists:,} requests")


def _say_how_many(say: Callable[[str], None], of: str, done: int) -> None:
    say(f"{done:,} {of}")


def _understood(recommender: Recommender, requests: Iterator[Asked]) -> Iterator[Asked]:
    for asked in requests:
        try:
            check_understood(recommender, asked.wish)
        except ConfigError as error:
            raise ConfigError(f"{asked.place}: {error}") from error
        yield asked


def _set(holdout: HoldoutChoice) -> HoldoutChoice | None:
    return None if holdout is HoldoutChoice.none else holdout


def _check_alone(history: str | None, wish: str | None, needs_users: dict[str, Any]) -> None:
    """Raise ConfigError unless there is something to go by, and no option that would be left unheeded."""
    if history is None and wish is None:
        raise ConfigError(
            "say for whom: --users IDS (or all), --history ITEMS, or --wish TEXT; or give --requests FILE"
        )
    if unheeded := [option for option, value in needs_users.items() if value is not None]:
        raise ConfigError(f"{unheeded[0]} is for known users; add --users IDS (or all)")


def _check_one_way(users: str | None, requests: str | None, history: str | None, wish: str | None) -> None:
    """Raise ConfigError where two options say for whom."""
    if requests is not None:
        given = {"--users": users, "--history": history, "--wish": wish}
        if both := [option for option, value in given.items() if value is not None]:
            raise ConfigError(f"--requests and {both[0]} exclude each other: each request says for whom it is")
    if history is not None:
        raise ConfigError("--users and --history exclude each other: a known user has a history")


def _recommend_to_anybody(
    recommender: Recommender, history: str | None, wish: str | None, k: int, as_json: bool
) -> None:
    past = None if history is None else split_ids(history, "--history")
    check_understood(recommender, wish)
    queries = recommender.queries(histories=None if past is None else [past], wishes=None if wish is None else [wish])
    show_lists(recommender, recommender.recommend(queries, k), [_asked(history=past, wish=wish)], as_json)


def check_understood(recommender: Recommender, wish: str | None) -> None:
    """Raise ConfigError where a wish would be left unheeded."""
    from llmrec.pipeline import Searches

    retrievers = [retriever for stage in recommender.stages for retriever, _ in stage.retrievers]
    scorers = [scorer for stage in recommender.stages for scorer in stage.scorers]
    if wish is None or scorers or any(isinstance(retriever, Searches) for retriever in retrievers):
        return
    raise ConfigError(
        "this bundle knows items by their interactions only, so a wish would change nothing; "
        "fit one with a dense retriever"
    )


def _asked(**parts: Any) -> dict[str, Any]:
    return {name: value for name, value in parts.items() if value is not None}


def _histories(recommender: Recommender, interactions: Path | None, holdout: HoldoutChoice) -> Interactions:
    """The log that histories come from, without what must not be seen."""
    about = recommender.about or {}
    if interactions is not None:
        from llmrec.data import Interactions, split_by
        from llmrec.evaluate import check_unseen

        log = Interactions.from_file(interactions, recommender.catalog)
        if holdout is HoldoutChoice.none:
            return log
        check_unseen(recommender, log)
        return split_by(holdout.value, log, recommender.catalog.items, about["min_interactions"]).known
    if recommender.histories is None:
        raise ConfigError("this bundle stores no users; give their log with --interactions FILE")
    if holdout is not HoldoutChoice.none and about.get("holdout") != holdout.value:
        raise LeakageError(
            f"this bundle was fitted with --holdout {about.get('holdout')}, so nothing measured with it on "
            f"--holdout {holdout.value} would be honest; fit one with: llmrec fit --holdout {holdout.value}"
        )
    return recommender.histories


def _answer(recommender: Recommender, wish: str | None, k: int, ids: Sequence[str]) -> Ranking:
    """The lists of known users; all with the same wish, if any."""
    return recommender.recommend(recommender.queries(ids, wishes=None if wish is None else [wish] * len(ids)), k)
