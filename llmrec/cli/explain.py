"""``llmrec explain``: why items are recommended to known users, to a history typed in, or for a wish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmrec.cli.ids_file import read_ids
from llmrec.cli.output import print_json, print_rows, printable, progress, results, short_score
from llmrec.cli.recommend import HistoryOption, WishOption, check_understood
from llmrec.cli.search import title_of
from llmrec.cli.source import BundleOption, JsonOption, split_ids
from llmrec.errors import ConfigError, DataError

if TYPE_CHECKING:
    from llmrec.models import LanguageModel
    from llmrec.pipeline import Recommender
    from llmrec.reasons import Explanation
    from llmrec.types import Queries

__all__ = ["explain"]

UsersOption = Annotated[
    str | None,
    typer.Option("--users", metavar="IDS|FILE|-", help="Known users: ids separated by commas, or a file, one a line."),
]
ItemOption = Annotated[
    str | None,
    typer.Option("--item", metavar="ITEMS", help="Items to explain, comma-separated; default: the --k best ones."),
]
CountOption = Annotated[int, typer.Option("--k", min=1, help="How many of the best items to explain.")]
ReasonsOption = Annotated[int, typer.Option("--reasons", min=1, help="Name at most so many reasons.")]
FieldsOption = Annotated[
    str | None,
    typer.Option("--fields", metavar="NAMES", help="Fields of the item that may be reasons too, such as genres,year."),
]
TemplateOption = Annotated[
    str, typer.Option("--template", metavar="NAME", help="What writes the sentence: a template, or a .toml file.")
]
PhraseOption = Annotated[
    str | None,
    typer.Option(
        "--phrase-with",
        metavar="NAME",
        help="A language model that says it in its own words; dropped if these name what is not evidence.",
    ),
]


def explain(
    bundle: BundleOption,
    users: UsersOption = None,
    history: HistoryOption = None,
    wish: WishOption = None,
    item: ItemOption = None,
    k: CountOption = 3,
    reasons: ReasonsOption = 3,
    fields: FieldsOption = None,
    template: TemplateOption = "explain/because",
    phrase_with: PhraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say why items are recommended: by what is known without which they would stand lower."""
    from llmrec.opening import load

    _check(users, history, wish)
    names = None if users is None else read_ids(users, "--users")
    items = None if item is None else split_ids(item, "--item")
    taken = () if fields is None else split_ids(fields, "--fields")
    recommender = load(bundle)
    check_understood(recommender, wish)
    queries, asked = _asked(recommender, names, history, wish)
    lists = recommender.explain(
        queries,
        None if items is None else [items] * len(queries),
        k=k,
        reasons=reasons,
        fields=taken,
        template=template,
        phrase_with=_opened(phrase_with),
    )
    if as_json:
        print_json([{**one, "items": [_as_json(e) for e in own]} for one, own in zip(asked, lists, strict=True)])
    else:
        _print(recommender, asked, lists)
    if phrase_with is not None and not as_json:
        every = [one.phrased for own in lists for one in own]
        typer.echo(f"{sum(every)} of {len(every)} sentences are by {phrase_with}, the others by {template}", err=True)


def _check(users: str | None, history: str | None, wish: str | None) -> None:
    if users is None and history is None and wish is None:
        raise ConfigError("say for whom: --users IDS, --history ITEMS, or --wish TEXT")
    if users is not None and history is not None:
        raise ConfigError("--users and --history exclude each other: a known user has a history")
    if wish is not None and not wish.strip():
        raise DataError("the wish is empty; say what is wished for, or leave --wish out")


def _asked(
    recommender: Recommender, users: Sequence[str] | None, history: str | None, wish: str | None
) -> tuple[Queries, list[dict[str, Any]]]:
    """The queries, and what is asked in each as JSON values."""
    past = None if history is None else split_ids(history, "--history")
    said = {} if wish is None else {"wish": wish}
    if users is not None:
        queries = recommender.queries(users, wishes=None if wish is None else [wish] * len(users))
        return queries, [{"user_id": user, **said} for user in users]
    queries = recommender.queries(histories=None if past is None else [past], wishes=None if wish is None else [wish])
    return queries, [{**({} if past is None else {"history": past}), **said}]


def _opened(name: str | None) -> LanguageModel | None:
    if name is None:
        return None
    from llmrec.models import LanguageModel

    with progress() as say:
        say(f"opening {name}")
        return LanguageModel.load(name)


def _as_json(explanation: Explanation) -> dict[str, Any]:
    return {
        "item_id": explanation.item,
        "rank": explanation.rank,
        "score": short_score(explanation.score),
        "candidates": explanation.candidates,
        "reasons": [
            {
                "kind": reason.kind,
                "item_id": reason.item,
                "field": reason.field,
                "rank_without": reason.rank_without,
                "score_without": short_score(reason.score_without),
                "share": short_score(reason.share),
            }
            for reason in explanation.reasons
        ],
        "sentence": explanation.sentence,
        "phrased": explanation.phrased,
    }


def _print(
    recommender: Recommender, asked: Sequence[Mapping[str, Any]], lists: Sequence[Sequence[Explanation]]
) -> None:
    console = results()
    for one, own in zip(asked, lists, strict=True):
        console.print(printable(title_of(one)), style="bold", soft_wrap=True)
        for explanation in own:
            console.print()
            console.print(printable(explanation.sentence), soft_wrap=True)
            rows = [("without", "item_id", "rank", "share")]
            start = f"{explanation.rank} of {explanation.candidates}"
            rows.append(("nothing: as it is", explanation.item, start, ""))
            rows += [
                (_what(reason.kind, reason.field), reason.item or "", str(reason.rank_without), f"{reason.share:.0%}")
                for reason in explanation.reasons
                if reason.kind != "rule"
            ]
            print_rows(console, rows, left=2)


def _what(kind: str, field: str | None) -> str:
    """What was taken away, for people."""
    if kind == "popular":
        return "history and wish"
    return kind if field is None else f"{kind} {field}"
